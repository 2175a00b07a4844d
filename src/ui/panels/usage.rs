//! The load of thousands of experts: a bar each would be thinner than a pixel, so they are sorted, the busiest first, over
//! a logarithmic axis. What matters shows at a glance: how steep the use falls, and where the experts without any begin.

use super::load::{expert_text, load_plot, x_axis};
use crate::routing::{ExpertIdx, LayerBalance};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use egui::{Rect, Role, Ui, WidgetInfo, pos2};
use egui_plot::{GridMark, HLine, LineStyle, PlotBounds, PlotPoint};

/// The curve of one layer; `order` has its experts with any load, the busiest first.
pub fn usage_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, balance: &LayerBalance, order: &[u32], height: f32) {
    let experts = balance.load.len();
    let total: u64 = balance.load.iter().sum();
    let uniform = total as f64 / experts.max(1) as f64;
    let top = order.first().map_or(1, |&busiest| balance.load[busiest as usize]).max(1) as f64 * 1.1;
    let right = position_of(experts);
    let line_color = ui.visuals().weak_text_color();
    let plot = load_plot("usage curve", height, top)
        .show_x(false)
        .show_y(false)
        .x_grid_spacer(move |_| rank_marks(experts))
        .custom_x_axes(vec![x_axis().formatter(|mark, _| rank_text(10_f64.powf(mark.value).round() as u64))]);
    let response = plot.show(ui, |plot| {
        plot.set_plot_bounds(PlotBounds::from_min_max([0.0, 0.0], [right, top]));
        let line = HLine::new("uniform", uniform).color(line_color).style(LineStyle::dashed_loose()).width(1.0);
        plot.hline(line.allow_hover(false));
    });
    let transform = response.transform;
    let corner = |x: f64, y: f64| transform.position_from_point(&PlotPoint::new(x, y));
    let rect = Rect::from_two_pos(corner(0.0, 0.0), corner(right, top));
    paint(ui, ctx, balance, order, (rect, top));
    let used = format!("{} of {experts} experts handle a patch", order.len());
    response.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Usage curve: {used}")));
    let pointed = response.response.hover_pos().filter(|pointer| rect.contains(*pointer));
    let expert = pointed.and_then(|pointer| order.get(rank_at(transform.value_from_position(pointer).x))).copied();
    if let (Some(expert), true) = (expert, response.response.clicked()) {
        ctx.send(Command::LightExpert(ExpertIdx(expert)));
    }
    let told = expert.map_or(used, |expert| expert_text(balance, total, expert as usize));
    response.response.on_hover_text_at_pointer(told);
    ui.weak("Experts by rank, the busiest first (logarithmic)");
}

/// Where a rank (from 0) begins on the axis.
fn position_of(rank: usize) -> f64 {
    (rank as f64 + 1.0).log10()
}

fn rank_at(position: f64) -> usize {
    (10_f64.powf(position) - 1.0).max(0.0) as usize
}

/// 1, 2 and 5 times the powers of ten, on the logarithmic axis; the powers alone where the others would not have room.
fn rank_marks(experts: usize) -> Vec<GridMark> {
    let powers = (0..).map(|power| 10_usize.pow(power)).take_while(|&power| power <= experts);
    let factors: &[usize] = if experts > 10_000 { &[1] } else { &[1, 2, 5] };
    let ranks =
        powers.flat_map(|power| factors.iter().map(move |factor| factor * power)).filter(|&rank| rank <= experts);
    ranks.map(|rank| GridMark { value: (rank as f64).log10(), step_size: 1.0 }).collect()
}

/// Thousands and millions shortened, so that the marks have room.
fn rank_text(rank: u64) -> String {
    match rank {
        1_000_000.. => format!("{}M", rank / 1_000_000),
        1000.. => format!("{}k", rank / 1000),
        _ => rank.to_string(),
    }
}

/// One rectangle per point of the screen, each as high as the busiest expert that it shows.
fn paint(ui: &Ui, ctx: &ViewCtx<'_>, balance: &LayerBalance, order: &[u32], (rect, top): (Rect, f64)) {
    let painter = ui.painter_at(rect);
    let right = position_of(balance.load.len());
    let columns = rect.width().ceil().max(1.0) as usize;
    let lit = ctx.state.view.lit_expert;
    for column in 0..columns {
        let Some(&expert) = order.get(rank_at(right * column as f64 / columns as f64 + 1e-9)) else { break };
        let expert = ExpertIdx(expert);
        let share = (balance.load[expert.0 as usize] as f64 / top) as f32;
        let left = rect.left() + column as f32;
        let bar = Rect::from_min_max(
            pos2(left, rect.bottom() - rect.height() * share),
            pos2((left + 1.0).min(rect.right()), rect.bottom()),
        );
        let fade = if lit.is_none_or(|lit| lit == expert) { 1.0 } else { 0.22 };
        painter.rect_filled(bar, 0, ctx.color_of(expert).gamma_multiply(fade));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_positions_are_each_others_inverse() {
        for rank in [0, 1, 2, 19, 63, 4095, 999_999] {
            assert_eq!(rank_at(position_of(rank) + 1e-9), rank);
        }
        assert_eq!(rank_at(-1.0), 0);
    }

    #[test]
    fn ranks_are_marked_at_round_numbers() {
        let marks =
            |experts| -> Vec<f64> { rank_marks(experts).iter().map(|mark| 10_f64.powf(mark.value).round()).collect() };
        assert_eq!(marks(100), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(marks(4096).last(), Some(&2000.0));
        assert_eq!(marks(1 << 20), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        let texts = [1, 500, 1000, 200_000, 5_000_000].map(rank_text);
        assert_eq!(texts, ["1", "500", "1k", "200k", "5M"]);
    }
}
