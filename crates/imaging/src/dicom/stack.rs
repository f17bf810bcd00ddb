//! Frames in space: which of them are one stack, in which order, and whether that stack is whole.
//!
//! Slices are ordered by where they lie along their normal, never by a number that a scanner gave them.

use std::collections::BTreeMap;

use super::Fault;
use super::header::{Plane, cross, dot, minus};
use crate::{Affine, Grid};

/// Directions of one stack differ by no more than this in any cosine.
const SAME_DIRECTION: f64 = 1e-3;
/// Sizes of pixels of one stack differ by no more than this share.
const SAME_SPACING: f64 = 1e-3;
/// Slices closer than this, in mm, are at one place.
const SAME_PLACE: f64 = 1e-3;
/// A slice is in its place if it is off by no more than this share of the distance between slices: positions
/// are often written with one or two decimals.
const OFF_PLACE: f64 = 0.1;
/// From this share on a warning says so.
const OFF_PLACE_WARNED: f64 = 0.01;
/// Slices that are shifted sideways by less than this share of a pixel, over the whole stack, are not.
const SIDEWAYS: f64 = 0.1;

const GIVE_WHOLE: &str = "add the files that are missing, or give another series";

/// Planes by their size, orientation and pixel spacing.
pub(crate) fn split_by_geometry<K: PartialEq>(
    planes: Vec<Plane>,
    key: impl Fn(&Plane) -> K,
) -> Vec<Vec<Plane>> {
    let mut stacks: Vec<Vec<Plane>> = Vec::new();
    for plane in planes {
        let same = |stack: &&mut Vec<Plane>| {
            let first = &stack[0];
            let turned = (0..2).any(|d| {
                let difference = minus(first.directions[d], plane.directions[d]);
                difference.iter().any(|v| v.abs() > SAME_DIRECTION)
            });
            let scaled = (0..2).any(|d| {
                let (a, b) = (first.spacing[d], plane.spacing[d]);
                (a - b).abs() > SAME_SPACING * a.max(b)
            });
            !turned && !scaled && key(first) == key(&plane)
        };
        match stacks.iter_mut().find(same) {
            Some(stack) => stack.push(plane),
            None => stacks.push(vec![plane]),
        }
    }
    stacks
}

/// The direction from slice to slice.
fn normal(plane: &Plane) -> [f64; 3] {
    cross(plane.directions[0], plane.directions[1])
}

/// Sorts by position along the normal.
fn sort(planes: &mut [Plane]) {
    let Some(first) = planes.first() else { return };
    let normal = normal(first);
    planes.sort_by(|a, b| dot(a.position, normal).total_cmp(&dot(b.position, normal)));
}

/// Whether two planes that follow each other are at one place.
fn together(a: &Plane, b: &Plane) -> bool {
    dot(minus(b.position, a.position), normal(a)).abs() < SAME_PLACE
}

/// How many of sorted planes are at the same place, at most.
fn most_together(planes: &[Plane]) -> usize {
    let places = planes.chunk_by(together);
    places.map(<[Plane]>::len).max().unwrap_or(0)
}

/// Sorts a stack, and parts it where several images are at each position, as those of a dynamic scan or of
/// several echoes are: by the attribute that tells them apart in the fewest parts, the first of the list in
/// `header` where several do. Each part comes with what sets it apart.
pub(crate) fn part(mut planes: Vec<Plane>) -> Vec<(Option<String>, Vec<Plane>)> {
    sort(&mut planes);
    let together = most_together(&planes);
    if together < 2 {
        return vec![(None, planes)];
    }
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in planes.iter().flat_map(|p| &p.keys) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let mut best: Option<(&str, BTreeMap<&str, Vec<Plane>>)> = None;
    for name in names {
        let mut parts: BTreeMap<&str, Vec<Plane>> = BTreeMap::new();
        for plane in &planes {
            let key = plane.keys.iter().find(|(n, _)| *n == name);
            let value = key.map_or("", |(_, value)| value.as_str());
            parts.entry(value).or_default().push(plane.clone());
        }
        // A number of its own for every image tells them apart too, but makes no stacks.
        let stacks = parts.len() == together || 2 * parts.len() <= planes.len();
        let apart = parts.values().all(|part| most_together(part) < 2);
        let fewer = best
            .as_ref()
            .is_none_or(|(_, best)| parts.len() < best.len());
        if stacks && apart && fewer {
            best = Some((name, parts));
        }
    }
    match best {
        Some((name, parts)) => parts
            .into_iter()
            .map(|(value, part)| (Some(format!("{name} {value}")), part))
            .collect(),
        None => vec![(None, planes)],
    }
}

/// The grid of a sorted stack of `size` columns and rows, and what is to be said about it.
pub(crate) fn grid(
    planes: &[Plane],
    size: [u32; 2],
    name: impl Fn(&Plane) -> String,
) -> Result<(Grid, Vec<String>), Fault> {
    let mut warnings = Vec::new();
    let (first, last) = match planes {
        [] => return Err(Fault::malformed("it has no slices")),
        [first, .., last] => (first, last),
        [only] => (only, only),
    };
    let normal = normal(first);
    let step = match planes.len() {
        1 => {
            let step = first.step.unwrap_or(1.0);
            warnings.push(format!(
                "it is a lone slice, taken to be {step} mm thick{}",
                if first.step.is_none() {
                    ", which its file does not say"
                } else {
                    ""
                }
            ));
            normal.map(|n| n * step)
        }
        n => {
            check_distances(planes, normal, &name)?;
            let span = minus(last.position, first.position);
            let step = span.map(|s| s / (n - 1) as f64);
            check_line(planes, normal, step, &name, &mut warnings)?;
            let along = dot(step, normal);
            let sideways = minus(step, normal.map(|n| n * along));
            let shift = dot(sideways, sideways).sqrt();
            if shift * (n - 1) as f64 <= SIDEWAYS * first.spacing[0].min(first.spacing[1]) {
                normal.map(|n| n * along)
            } else {
                warnings.push(format!(
                    "its slices are shifted sideways, by a gantry tilt of {:.1} degrees; its grid is sheared \
                     likewise, which ITK does not read from NIfTI",
                    shift.atan2(along).to_degrees()
                ));
                step
            }
        }
    };
    let columns = [
        first.directions[0].map(|d| d * first.spacing[0]),
        first.directions[1].map(|d| d * first.spacing[1]),
        step,
    ];
    // DICOM's x and y grow to the left and back, those of RAS+ to the right and front.
    let sign = [-1.0, -1.0, 1.0];
    let mut affine = Affine::of_spacing([1.0; 3]);
    for row in 0..3 {
        for column in 0..3 {
            // A zero has no sign.
            affine.matrix[row][column] = sign[row] * columns[column][row] + 0.0;
        }
        affine.origin[row] = sign[row] * first.position[row] + 0.0;
    }
    let [columns, rows] = size.map(|s| s as usize);
    let grid = Grid::new([columns, rows, planes.len()], affine);
    let grid = grid.map_err(|e| Fault::malformed(e.to_string()))?;
    Ok((grid, warnings))
}

/// Whether neighbours are equally far apart.
fn check_distances(
    planes: &[Plane],
    normal: [f64; 3],
    name: &impl Fn(&Plane) -> String,
) -> Result<(), Fault> {
    let distance = |w: &[Plane]| dot(minus(w[1].position, w[0].position), normal);
    let twice: Vec<&[Plane]> = planes
        .windows(2)
        .filter(|w| together(&w[0], &w[1]))
        .collect();
    if !twice.is_empty() {
        let pairs = twice
            .iter()
            .map(|w| format!("{} and {}", name(&w[0]), name(&w[1])));
        return Err(Fault::broken(
            format!(
                "{} position(s) occur more than once and nothing tells the images apart: {}",
                twice.len(),
                first_few(pairs)
            ),
            "remove the images that do not belong to the scan",
        ));
    }
    let mut distances: Vec<f64> = planes.windows(2).map(distance).collect();
    distances.sort_by(f64::total_cmp);
    let usual = distances[(distances.len() - 1) / 2];
    let gaps: Vec<(&[Plane], f64)> = planes
        .windows(2)
        .map(|w| (w, distance(w) / usual))
        .filter(|(_, ratio)| (ratio - 1.0).abs() > 2.0 * OFF_PLACE)
        .collect();
    if gaps.is_empty() {
        return Ok(());
    }
    let whole = |ratio: f64| (ratio - ratio.round()).abs() <= 2.0 * OFF_PLACE && ratio > 1.5;
    let places = gaps.iter().map(|(w, ratio)| {
        let between = format!("{} and {}", name(&w[0]), name(&w[1]));
        format!("{:.4} mm between {between}", ratio * usual)
    });
    let places = first_few(places);
    if gaps.iter().all(|&(_, ratio)| whole(ratio)) {
        let missing: f64 = gaps.iter().map(|(_, ratio)| ratio.round() - 1.0).sum();
        return Err(Fault::broken(
            format!(
                "{missing} {} missing: neighbours are {usual:.4} mm apart, but {places}",
                if missing > 1.0 {
                    "slices are"
                } else {
                    "slice is"
                }
            ),
            GIVE_WHOLE,
        ));
    }
    Err(Fault::broken(
        format!("its slices are unevenly spaced: most are {usual:.4} mm apart, but {places}"),
        GIVE_WHOLE,
    ))
}

/// Whether all slices are where equal steps from the first lead.
fn check_line(
    planes: &[Plane],
    normal: [f64; 3],
    step: [f64; 3],
    name: &impl Fn(&Plane) -> String,
    warnings: &mut Vec<String>,
) -> Result<(), Fault> {
    let along = dot(step, normal);
    let pixel = planes[0].spacing[0].min(planes[0].spacing[1]);
    let mut worst = (0.0, &planes[0]);
    for (k, plane) in planes.iter().enumerate() {
        let place: [f64; 3] = [0, 1, 2].map(|a| planes[0].position[a] + step[a] * k as f64);
        let off = minus(plane.position, place);
        let off_along = dot(off, normal);
        let sideways = minus(off, normal.map(|n| n * off_along));
        let share = (off_along.abs() / along).max(dot(sideways, sideways).sqrt() / pixel / 5.0);
        if share > worst.0 {
            worst = (share, plane);
        }
    }
    let (share, plane) = worst;
    let percent = 100.0 * share;
    if share > OFF_PLACE {
        return Err(Fault::broken(
            format!(
                "its slices do not lie on a line at equal distances: {} is {percent:.0} % of {along:.4} mm off",
                name(plane)
            ),
            GIVE_WHOLE,
        ));
    }
    if share > OFF_PLACE_WARNED {
        warnings.push(format!(
            "its slices are not quite evenly spaced: {} is {percent:.1} % of {along:.4} mm off",
            name(plane)
        ));
    }
    Ok(())
}

/// Up to three of a list, and how many more there are.
fn first_few(list: impl ExactSizeIterator<Item = String>) -> String {
    let more = list.len().saturating_sub(3);
    let mut text = list.take(3).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scale;

    fn plane(z: f64, keys: &[(&'static str, &str)]) -> Plane {
        Plane {
            instance: 0,
            frame: 0,
            position: [0.0, 0.0, z],
            directions: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            spacing: [1.0; 2],
            step: None,
            scale: Scale::IDENTITY,
            keys: keys
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn stacks_are_parted_by_what_makes_the_fewest_and_not_by_a_number_for_every_image() {
        let mut planes = Vec::new();
        for (n, (z, echo)) in [
            (0.0, "1"),
            (1.0, "1"),
            (2.0, "1"),
            (0.0, "2"),
            (1.0, "2"),
            (2.0, "2"),
        ]
        .into_iter()
        .enumerate()
        {
            planes.push(plane(
                z,
                &[("AcquisitionNumber", &n.to_string()), ("EchoTime", echo)],
            ));
        }
        let parts = part(planes);
        let names: Vec<_> = parts
            .iter()
            .map(|(name, p)| (name.as_deref(), p.len()))
            .collect();
        assert_eq!(names, [(Some("EchoTime 1"), 3), (Some("EchoTime 2"), 3)]);
    }

    #[test]
    fn what_nothing_tells_apart_stays_together() {
        let parts = part(vec![plane(0.0, &[]), plane(1.0, &[]), plane(1.0, &[])]);
        assert_eq!(parts.len(), 1);
        assert!(grid(&parts[0].1, [4, 4], |_| String::new()).is_err());
    }
}
