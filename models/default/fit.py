"""Experts and routers in closed form: each MoE layer as the best low-rank linear map per cluster of tokens.

A block's dense projection is linear in its hidden features h, y = A h + b. Tokens are clustered by y (k-means with
prices that share the tokens out evenly); the cluster centres give the router. Expert e gets the leading directions U
of its cluster's y and the cluster's mean m: y ≈ m + U Uᵀ(A h + b − m), the best map of that rank for the cluster. A
bias keeps most inner values above zero, in the linear part of the ReLU. Blocks are fitted in order, each on the
student's own input, against the teacher's output, so that later layers make up for what earlier ones lose.
"""

import torch

from backbone import TAIL_START, Backbone
from moe import MoeProjection
from network import Student

INNER_SHIFT = 1.5  # standard deviations
RIDGE = 1e-3
PRICE_SOFTNESS = 0.3  # of the mean gap between the two best scores
ROUNDS = 30  # of clustering, and of pricing in each
FIRST_WEIGHT = 0.75
TOKENS = 60000
FIT_TOP_K = 2


def _fit_linear(h: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ridge regression y ≈ h Aᵀ + b; returns A [out, hidden] and b [out]."""
    h_mean, y_mean = h.mean(0), y.mean(0)
    hc, yc = h - h_mean, y - y_mean
    gram = hc.T @ hc
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    a = torch.linalg.solve(gram, hc.T @ yc).T
    return a, y_mean - a @ h_mean


def _balanced_prices(scores: torch.Tensor) -> torch.Tensor:
    """What to add to each column of scores [T, E] so that every column wins about the same share of the rows."""
    top = scores.topk(2, dim=1)[0]
    softness = PRICE_SOFTNESS * (top[:, 0] - top[:, 1]).mean()
    price = torch.zeros(scores.shape[1])
    for _ in range(ROUNDS):
        share = ((scores + price) / softness).softmax(1).mean(0)
        price -= softness * (share * scores.shape[1]).log()
    return price


def balanced_kmeans(y: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [count, D] and offsets [count]; a token belongs to the largest centre·y + offset, evenly shared out.

    The offset is −|centre|²/2, as in plain k-means, and a price found anew in every round: no cluster runs empty, and
    experts get clusters of about the same size whatever the first centres were.
    """
    centres = y[torch.randperm(len(y))[:count]]
    for _ in range(ROUNDS):
        scores = y @ centres.T - centres.square().sum(1) / 2
        ids = (scores + _balanced_prices(scores)).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, ids, y)
        centres = sums / torch.bincount(ids, minlength=count).clamp(min=1)[:, None]
    scores = y @ centres.T - centres.square().sum(1) / 2
    return centres, _balanced_prices(scores) - centres.square().sum(1) / 2


def _sharpness(scores: torch.Tensor) -> float:
    """The factor on the scores at which the better of two kept experts gets `FIRST_WEIGHT` on average."""
    top = scores.topk(2, dim=1)[0]
    gap = top[:, 0] - top[:, 1]
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if torch.sigmoid(middle * gap).mean() < FIRST_WEIGHT else (low, middle)
    return middle


def fit_layer(moe: MoeProjection, h: torch.Tensor, target: torch.Tensor) -> None:
    """Sets the layer's weights from tokens h [T, hidden] and wanted outputs [T, out]."""
    a, b = _fit_linear(h, target)
    y = h @ a.T + b
    y_mean = y.mean(0)
    centres, offsets = balanced_kmeans(y - y_mean, moe.num_experts)
    scores = (y - y_mean) @ centres.T + offsets
    beta = _sharpness(scores)
    moe.router.weight.copy_(beta * centres @ a)
    moe.router.bias.copy_(beta * (centres @ (b - y_mean) + offsets))
    ids = scores.argmax(1)
    for expert in range(moe.num_experts):
        _fit_expert(moe, expert, y[ids == expert], a, b)


def _fit_expert(moe: MoeProjection, expert: int, y: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """One expert from its cluster's y [tokens, out], where y = A h + b."""
    rows = slice(expert * moe.rank, (expert + 1) * moe.rank)
    mean = y.mean(0)
    values, vectors = torch.linalg.eigh((y - mean).T @ (y - mean) / len(y))
    u = vectors[:, -moe.rank:]
    scale = values[-moe.rank:].clamp(min=1e-8).sqrt()
    moe.down.weight[rows] = (u / scale).T @ a
    moe.down.bias[rows] = (u / scale).T @ (b - mean) + INNER_SHIFT
    moe.up[rows] = (u * scale).T
    moe.up_bias[expert] = mean - INNER_SHIFT * (u * scale).sum(1)


def _in_batches(function, *tensors: torch.Tensor, size: int = 64) -> torch.Tensor:
    parts = zip(*(tensor.split(size) for tensor in tensors))
    return torch.cat([function(*part) for part in parts])


def _tokens(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


@torch.no_grad()
def fit_student(student: Student, teacher: Backbone, early: torch.Tensor) -> None:
    """Fits every MoE layer in order. `early` is what blocks 0–4 give for some crops, [N, 40, 28, 28]."""
    x_student, x_teacher = early, early
    for number in range(TAIL_START, len(teacher.blocks)):
        theirs, ours = teacher.blocks[number], student.blocks[number]
        x_teacher = _in_batches(theirs, x_teacher)
        if number in student.ranks:
            target = x_teacher - x_student if ours.spec.residual else x_teacher
            h, y = _tokens(_in_batches(ours.hidden, x_student)), _tokens(target)
            chosen = torch.randperm(len(h))[:TOKENS]
            fit_layer(ours.project, h[chosen], y[chosen])
            y_hat = _in_batches(lambda part: ours.project(part, FIT_TOP_K), h, size=8192)
            error = (y_hat - y).square().sum() / (y - y.mean(0)).square().sum()
            print(f"block {number}: explains {1 - error:.3f} of the dense output's variance", flush=True)
            y_hat = y_hat.view(*x_teacher.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
            x_student = x_student + y_hat if ours.spec.residual else y_hat
        else:
            x_student = _in_batches(ours, x_student)
