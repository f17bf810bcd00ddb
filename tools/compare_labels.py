"""Two label maps: whether they lie at the same place, and how many voxels differ.

    pip install nibabel
    python tools/compare_labels.py ours.nii.gz theirs.nii.gz --most 0.001
"""

import argparse
import json
import sys

import nibabel as nib
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--most", type=float, default=0.001, help="the share of voxels that may differ")
    args = parser.parse_args()
    a, b = nib.load(args.a), nib.load(args.b)
    same_place = a.shape == b.shape and np.array_equal(a.affine, b.affine)
    differing = 1.0
    if a.shape == b.shape:
        differing = float(np.mean(np.asanyarray(a.dataobj) != np.asanyarray(b.dataobj)))
    print(json.dumps({"same_shape_and_affine": same_place, "differing": differing}))
    sys.exit(0 if same_place and differing <= args.most else 1)


if __name__ == "__main__":
    main()
