//! What a whole scan costs: the runs that a network needs for one, counted, times the time of a run,
//! measured.
//!
//! A 2D network runs once per slice. A 3D network gets the scan resampled to the spacing that it was
//! trained at, cut into tiles that overlap by half along every axis, as nnU-Net's predictor does
//! (`compute_steps_for_sliding_window` with a step of 0.5, no mirroring): along an axis of `n` voxels a tile of `t`
//! takes `ceil((n - t) / (t / 2)) + 1` places, and one where it is as long as the axis. Reading,
//! resampling, adding up the tiles and resampling back are the same for every network of a kind and are
//! not in this figure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::arm::Arm;
use crate::record::Record;
use crate::suite::Suite;

/// The largest extent and spacing that are taken for a scan rather than a slip of the hand.
const LARGEST: f64 = 10_000.0;

/// A CT scan's grid.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Scan {
    /// Voxels along x and y, which make a slice, and z.
    pub voxels: [usize; 3],
    /// Their distances in millimetres.
    pub spacing_mm: [f64; 3],
    /// The spacing along all axes that 3D networks run at, in millimetres: TotalSegmentator's.
    pub network_spacing_mm: f64,
}

impl Default for Scan {
    /// An abdomen and thorax as many scanners make it.
    fn default() -> Self {
        Scan {
            voxels: [512, 512, 300],
            spacing_mm: [0.8, 0.8, 1.5],
            network_spacing_mm: 1.5,
        }
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([x, y, z], [dx, dy, dz]) = (self.voxels, self.spacing_mm);
        write!(f, "{x}x{y}x{z}@{dx}x{dy}x{dz}")
    }
}

impl FromStr for Scan {
    type Err = String;
    fn from_str(text: &str) -> Result<Scan, String> {
        let wrong =
            || "write XxYxZ@DXxDYxDZ, voxels and millimetres: 512x512x300@0.8x0.8x1.5".to_owned();
        fn three<T: FromStr + Copy>(text: &str) -> Option<[T; 3]> {
            let values: Vec<T> = text
                .split('x')
                .map_while(|v| v.trim().parse().ok())
                .collect();
            let complete = text.split('x').count() == 3;
            values.try_into().ok().filter(|_| complete)
        }
        let (voxels, spacing) = text.split_once('@').ok_or_else(wrong)?;
        let voxels: [usize; 3] = three(voxels).ok_or_else(wrong)?;
        let spacing_mm: [f64; 3] = three(spacing).ok_or_else(wrong)?;
        let fits = voxels.iter().all(|&v| v > 0 && v as f64 <= LARGEST)
            && spacing_mm.iter().all(|&s| s > 0.01 && s <= 100.0);
        match fits {
            true => Ok(Scan {
                voxels,
                spacing_mm,
                ..Scan::default()
            }),
            false => Err(wrong()),
        }
    }
}

/// What an arm needs for a scan.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ScanTime {
    /// Runs of the network.
    pub runs: usize,
    /// The resampled scan's voxels along z, y and x, for a 3D network.
    pub resampled: Option<[usize; 3]>,
    /// Places of the tile along z, y and x, for a 3D network.
    pub tiles: Option<[usize; 3]>,
    /// The runs times the measured time of one, in seconds.
    pub network_seconds: f64,
    /// From the file read to the label map written, in seconds; `None` as long as nothing measures it.
    pub end_to_end_seconds: Option<f64>,
}

/// Works out [`Arm::scan`] of every measured arm of a record whose suite is about scans.
pub fn apply(record: &mut Record) {
    if record.suite != Suite::TwoVsThree.name() {
        return;
    }
    let scan = record.options.scan.unwrap_or_default();
    for arm in &mut record.arms {
        arm.scan = time_of(arm, &scan);
    }
}

fn time_of(arm: &Arm, scan: &Scan) -> Option<ScanTime> {
    let per_second = arm.throughput.filter(|t| *t > 0.0)?;
    let mut time = ScanTime::default();
    match *arm.input.get(2..)? {
        [_, _] => time.runs = scan.voxels[2],
        [depth, height, width] => {
            let resampled = [2, 1, 0].map(|axis| {
                let mm = scan.voxels[axis] as f64 * scan.spacing_mm[axis];
                ((mm / scan.network_spacing_mm).round() as usize).max(1)
            });
            let tile = [depth, height, width];
            let tiles = [0, 1, 2].map(|axis| places(resampled[axis], tile[axis]));
            time.resampled = Some(resampled);
            time.tiles = Some(tiles);
            time.runs = tiles.iter().product();
        }
        _ => return None,
    }
    time.network_seconds = time.runs as f64 / per_second;
    Some(time)
}

/// Places of a tile along an axis at half a tile's step.
fn places(extent: usize, tile: usize) -> usize {
    let beyond = extent.saturating_sub(tile) as f64;
    (beyond / (tile as f64 / 2.0)).ceil() as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(input: &[usize], per_second: f64) -> Arm {
        Arm {
            input: input.to_vec(),
            throughput: Some(per_second),
            ..Arm::default()
        }
    }

    #[test]
    fn places_are_those_of_nnu_net() {
        // len(compute_steps_for_sliding_window((n,), (t,), 0.5)[0]) of nnunetv2.
        let cases = [
            ((128, 128), 1),
            ((100, 128), 1),
            ((129, 128), 2),
            ((192, 128), 2),
            ((193, 128), 3),
            ((300, 128), 4),
            ((273, 128), 4),
            ((273, 64), 8),
        ];
        for ((extent, tile), want) in cases {
            assert_eq!(places(extent, tile), want, "{extent} in tiles of {tile}");
        }
    }

    #[test]
    fn a_scan_is_slices_for_a_2d_network_and_overlapping_tiles_for_a_3d_one() {
        let scan = Scan::default();
        let image = time_of(&arm(&[1, 3, 512, 512], 50.0), &scan).unwrap();
        assert_eq!((image.runs, image.tiles), (300, None));
        assert_eq!(image.network_seconds, 6.0);
        let tile = time_of(&arm(&[1, 1, 128, 128, 128], 2.0), &scan).unwrap();
        assert_eq!(tile.resampled, Some([300, 273, 273]));
        assert_eq!(tile.tiles, Some([4, 4, 4]));
        assert_eq!((tile.runs, tile.network_seconds), (64, 32.0));
        let small = time_of(&arm(&[1, 1, 128, 128, 64], 2.0), &scan).unwrap();
        assert_eq!((small.tiles, small.runs), (Some([4, 4, 8]), 128));
        assert_eq!(small.end_to_end_seconds, None);
    }

    #[test]
    fn a_scan_is_read_as_it_is_written() {
        let scan: Scan = "256x200x40@1x1.5x5".parse().unwrap();
        assert_eq!(scan.voxels, [256, 200, 40]);
        assert_eq!(scan.spacing_mm, [1.0, 1.5, 5.0]);
        assert_eq!(scan.to_string().parse(), Ok(scan));
        assert_eq!(Scan::default().to_string(), "512x512x300@0.8x0.8x1.5");
        for text in [
            "",
            "512",
            "512x512x300",
            "512x512x300@0.8",
            "512x512@1x1x1",
            "0x1x1@1x1x1",
            "1x1x1@0x1x1",
            "1x1x1@NaNx1x1",
            "1x1x1x1@1x1x1",
            "1x1x1@1x1x1x1",
            "ax1x1@1x1x1",
            "99999999999999999999x1x1@1x1x1",
        ] {
            assert!(text.parse::<Scan>().is_err(), "{text}");
        }
    }
}
