"""A CT-like scan to try slicewise on: an ellipsoid of a body with organs, bones, lungs and noise.

    pip install nibabel
    python tools/phantom.py ct.nii.gz --size 512 512 300

It is asymmetric in every axis, so that no flip goes unseen, and the noise of its lower bits makes it as
hard to pack as a real scan (about 1.3 to 1).
"""

import argparse

import nibabel as nib
import numpy as np

# Centre, half axes (shares of the body's own, x to the right, y to the front, z to the head), HU.
ORGANS = [
    ((0.35, 0.1, 0.15), (0.38, 0.4, 0.22), 60),  # liver, on the right
    ((-0.45, -0.2, 0.2), (0.15, 0.2, 0.12), 50),  # spleen, on the left
    ((0.3, -0.35, -0.1), (0.1, 0.12, 0.12), 35),
    ((-0.3, -0.35, -0.05), (0.1, 0.12, 0.12), 35),
    ((0.4, 0.05, 0.65), (0.28, 0.5, 0.28), -800),
    ((-0.4, 0.05, 0.65), (0.26, 0.5, 0.28), -800),
    ((-0.1, 0.25, 0.55), (0.16, 0.22, 0.14), 45),
    ((0.0, -0.65, 0.0), (0.09, 0.13, 1.0), 400),  # spine
    ((0.05, -0.35, 0.0), (0.05, 0.06, 0.9), 120),  # aorta
    ((0.0, 0.1, -0.7), (0.2, 0.25, 0.12), 10),  # bladder
]


def slice_of(z, shape, rng):
    """Slice z of the phantom, HU as [x, y]."""
    x = np.linspace(-1.15, 1.15, shape[0], dtype=np.float32)[:, None]
    y = np.linspace(-1.5, 1.5, shape[1], dtype=np.float32)[None, :]
    z = 2 * (z + 0.5) / shape[2] - 1
    radius = x**2 + y**2
    hu = np.full(shape[:2], -1000, np.float32)
    hu[radius < 1] = -90
    hu[radius < 0.88] = 40
    for (cx, cy, cz), (rx, ry, rz), value in ORGANS:
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1
        hu[inside] = value
    hu += rng.standard_normal(shape[:2], dtype=np.float32) * np.where(radius < 1, 18, 6)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 300), metavar=("X", "Y", "Z"))
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.8, 0.8, 1.5), metavar=("DX", "DY", "DZ"))
    parser.add_argument("--axes", default="LPS", help="which way the axes of the file run")
    args = parser.parse_args()
    rng = np.random.default_rng(7)
    data = np.stack([slice_of(z, args.size, rng) for z in range(args.size[2])], axis=2)
    affine = np.diag([*args.spacing, 1.0])
    affine[:3, 3] = -0.5 * (np.array(args.size) - 1) * args.spacing
    image = nib.Nifti1Image(data, affine)
    ornt = nib.orientations.axcodes2ornt(tuple(args.axes))
    image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), ornt))
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    nib.save(image, args.output)


if __name__ == "__main__":
    main()
