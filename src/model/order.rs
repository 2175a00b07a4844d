//! Puts what depends on each other in order, or finds the circle that makes that impossible. Works without recursion: a
//! chain from an untrusted file may be as long as it likes.

/// One thing needs another to be there first; both are indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    /// What has to be first.
    pub first: usize,
    /// What comes after it.
    pub then: usize,
}

/// All indices below `count` such that every need is met.
///
/// # Errors
/// The indices of one circle, each needed by the next, the last one by the first; the lowest comes first.
pub(super) fn order(count: usize, mut needs: Vec<Need>) -> Result<Vec<usize>, Vec<usize>> {
    needs.sort_unstable();
    let mut open = vec![0_usize; count];
    needs.iter().for_each(|need| open[need.then] += 1);
    let mut ordered: Vec<usize> = (0..count).filter(|&index| open[index] == 0).collect();
    let mut done = 0;
    while let Some(&first) = ordered.get(done) {
        done += 1;
        let from = needs.partition_point(|need| need.first < first);
        for need in needs[from..].iter().take_while(|need| need.first == first) {
            open[need.then] -= 1;
            if open[need.then] == 0 {
                ordered.push(need.then);
            }
        }
    }
    if ordered.len() == count { Ok(ordered) } else { Err(circle(&open, &needs)) }
}

/// One circle among the indices that still wait for something.
fn circle(open: &[usize], needs: &[Need]) -> Vec<usize> {
    // Whatever waits, waits for something that waits as well, so that going back from one to the next ends in a circle.
    let mut before = vec![None; open.len()];
    for need in needs.iter().filter(|need| open[need.first] > 0) {
        before[need.then] = Some(need.first);
    }
    let mut at = open.iter().position(|&waiting| waiting > 0);
    let mut way = Vec::new();
    let mut place = vec![None; open.len()];
    while let Some(index) = at {
        if let Some(begin) = place[index] {
            way.drain(..begin);
            break;
        }
        place[index] = Some(way.len());
        way.push(index);
        at = before[index];
    }
    way.reverse();
    let lowest = (0..way.len()).min_by_key(|&place| way[place]).unwrap_or(0);
    way.rotate_left(lowest);
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(pairs: &[(usize, usize)]) -> Vec<Need> {
        pairs.iter().map(|&(first, then)| Need { first, then }).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        assert_eq!(order(0, vec![]), Ok(vec![]));
        assert_eq!(order(3, needs(&[(2, 1), (1, 0)])), Ok(vec![2, 1, 0]));
        assert_eq!(order(4, needs(&[(3, 0), (3, 0), (0, 2)])), Ok(vec![1, 3, 0, 2]));
    }

    #[test]
    fn a_circle_is_named_without_what_hangs_on_it() {
        assert_eq!(order(1, needs(&[(0, 0)])), Err(vec![0]));
        for (count, pairs) in
            [(4, &[(0, 1), (1, 2), (2, 1), (2, 3)][..]), (5, &[(1, 2), (2, 1), (2, 0), (0, 3), (3, 4)])]
        {
            assert_eq!(order(count, needs(pairs)), Err(vec![1, 2]), "{pairs:?}");
        }
        let long: Vec<_> = (0..100_000).map(|index| (index, (index + 1) % 100_000)).collect();
        assert_eq!(order(100_000, needs(&long)), Err((0..100_000).collect()));
    }
}
