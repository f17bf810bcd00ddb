"""Small scans with what nibabel, SimpleITK and scipy make of them.

Writes crates/imaging/tests/golden: NIfTI, MetaImage and NRRD files of a few hundred bytes, and
golden.json with shapes, affines, values, canonical forms and resampled volumes.

    pip install nibabel SimpleITK scipy
    python tools/reference/imaging.py
"""

import json
import pathlib

import nibabel as nib
import numpy as np
import scipy.ndimage
import SimpleITK as sitk

OUT = pathlib.Path(__file__).parents[2] / "crates/imaging/tests/golden"
SHAPE = (2, 3, 4)
RANDOM = np.random.default_rng(1)


def itk(path):
    """ITK's spacing, origin and direction as an affine to RAS, or None where ITK refuses."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    if image.GetDimension() != 3:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return (np.diag([-1, -1, 1, 1]) @ affine).tolist()


def describe(path, note):
    image = nib.load(path)
    data = np.asarray(image.dataobj)
    if data.ndim == 4:
        data = data[..., 0]
    canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(data.shape), image.affine))
    orientation = nib.io_orientation(image.affine)
    return {
        "file": path.name,
        "note": note,
        "shape": list(data.shape),
        "affine": image.affine.tolist(),
        "itk": itk(path),
        "axes": "".join(nib.aff2axcodes(image.affine)),
        "values": data.astype(float).ravel(order="F").tolist(),
        "canonical_affine": canonical.affine.tolist(),
        "canonical_shape": list(canonical.shape),
        "canonical_values": nib.apply_orientation(data, orientation).astype(float).ravel(order="F").tolist(),
    }


def rotation(x, y, z):
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def affine_of(matrix, origin=(-11.5, 23.25, 7.75)):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = origin
    return affine


def nifti_types():
    affine = affine_of(np.diag([0.75, 0.75, 2.5]))
    for name in "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split():
        info = np.iinfo(name) if np.dtype(name).kind in "iu" else None
        low, high = (max(info.min, -(2**40)), min(info.max, 2**40)) if info else (-1000, 1000)
        data = RANDOM.uniform(low, high, SHAPE).astype(name)
        for order in "<>":
            for header in (nib.Nifti1Header, nib.Nifti2Header):
                version = 1 if header is nib.Nifti1Header else 2
                ending = "be" if order == ">" else "le"
                kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
                image = kind(data.astype(np.dtype(name).newbyteorder(order)), affine, header(endianness=order))
                image.header.set_data_dtype(np.dtype(name).newbyteorder(order))
                path = OUT / f"{name}_{ending}_nifti{version}.nii"
                nib.save(image, path)
                yield path, "type and byte order"
    scaled = nib.Nifti1Image(RANDOM.integers(-1000, 1000, SHAPE).astype(np.int16), affine)
    for name, slope, intercept in [("scaled", 0.5, -1024.0), ("slope_zero", 0.0, 5.0), ("slope_nan", np.nan, 5.0)]:
        path = OUT / f"{name}.nii"
        nib.save(scaled, path)
        with open(path, "r+b") as file:
            file.seek(112)
            file.write(np.array([slope, intercept], "<f4").tobytes())
        yield path, "scl_slope and scl_inter"
    four = nib.Nifti1Image(RANDOM.integers(0, 99, SHAPE + (2,)).astype(np.uint8), affine)
    nib.save(four, OUT / "four.nii.gz")
    yield OUT / "four.nii.gz", "two volumes"
    nib.save(nib.Nifti1Pair(RANDOM.integers(0, 99, SHAPE).astype(np.int16), affine), OUT / "pair.hdr")
    yield OUT / "pair.hdr", "header and voxels apart"


def nifti_forms():
    data = RANDOM.integers(0, 255, SHAPE).astype(np.uint8)
    straight = affine_of(np.diag([-0.8, 0.9, 3.0]))
    oblique = affine_of(rotation(0.2, -0.3, 0.4) * [0.8, 0.9, 3.0])
    sheared = affine_of(rotation(0.2, -0.3, 0.4) @ np.array([[0.8, 0.2, 0], [0, 0.9, 0.1], [0, 0, 3.0]]))
    mirrored = affine_of(rotation(0.2, -0.3, 0.4) * [0.8, 0.9, -3.0])
    tilted = affine_of(rotation(0, 0, np.pi / 4) * [1.0, 1.0, 1.0])
    for name, sform, qform in [
        ("no_form", None, None),
        ("sform", oblique, None),
        ("qform", None, oblique),
        ("qform_mirrored", None, mirrored),
        ("qform_half_turn", None, affine_of(rotation(np.pi, 0, 0) * [1.0, 2.0, 3.0])),
        ("both", oblique, oblique),
        ("both_differ", straight, oblique),
        ("sheared", sheared, None),
        ("forty_five", tilted, tilted),
    ]:
        image = nib.Nifti1Image(data, None)
        image.header.set_zooms((0.8, 0.9, 3.0))
        image.set_sform(sform, code=0 if sform is None else 1)
        image.set_qform(qform, code=0 if qform is None else 1)
        path = OUT / f"{name}.nii"
        nib.save(image, path)
        yield path, "sform and qform"


def nifti_orders():
    """All 48 axis orders, half of them a little oblique, of a phantom in which every voxel is another."""
    data = np.arange(24, dtype=np.uint8).reshape(SHAPE)
    number = 0
    for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        for signs in np.ndindex(2, 2, 2):
            matrix = np.zeros((3, 3))
            for axis, world in enumerate(order):
                matrix[world, axis] = (1 - 2 * signs[axis]) * (0.7, 0.9, 2.5)[axis]
            if number % 2:
                matrix = rotation(0.15, -0.1, 0.2) @ matrix
            affine = affine_of(matrix)
            image = nib.Nifti1Image(data, affine)
            image.set_qform(affine, code=1)
            image.set_sform(affine, code=1)
            path = OUT / f"order_{number:02}.nii"
            nib.save(image, path)
            yield path, "axis order"
            number += 1


def itk_formats():
    for name, kind in [("a.mha", sitk.sitkInt16), ("b.mhd", sitk.sitkUInt8), ("c.nrrd", sitk.sitkFloat32),
                       ("d.nhdr", sitk.sitkUInt16), ("e.mha", sitk.sitkFloat64)]:
        array = RANDOM.integers(0, 200, SHAPE[::-1])
        image = sitk.Cast(sitk.GetImageFromArray(array.astype(np.int32)), kind)
        image.SetSpacing((0.8, 0.9, 3.0))
        image.SetOrigin((10.5, -20.25, 30.75))
        image.SetDirection(rotation(0.2, -0.3, 0.4).ravel().tolist())
        for packed in (False, True):
            path = OUT / f"{'packed' if packed else 'plain'}_{name}"
            sitk.WriteImage(image, str(path), packed)
            back = sitk.ReadImage(str(path))
            yield {
                "file": path.name,
                "shape": list(SHAPE),
                "affine": itk(path),
                "values": sitk.GetArrayFromImage(back).astype(float).ravel().tolist(),
            }


def resampled():
    data = RANDOM.uniform(-1000, 1000, (6, 5, 7)).astype(np.float32)
    for to in [(9, 3, 7), (4, 11, 20), (1, 5, 8)]:
        for order, name in [(0, "nearest"), (1, "linear"), (3, "cubic")]:
            for grid_mode, alignment in [(True, "half-pixel"), (False, "corners")]:
                if not grid_mode and 1 in to:
                    continue
                zoom = [t / f for t, f in zip(to, data.shape)]
                out = scipy.ndimage.zoom(data.astype(float), zoom, order=order, mode="nearest", grid_mode=grid_mode)
                assert out.shape == to
                yield {
                    "from": list(data.shape), "to": list(to), "interpolation": name, "alignment": alignment,
                    "values": data.ravel(order="F").astype(float).tolist(),
                    "want": out.ravel(order="F").tolist(),
                }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    nifti = [describe(path, note) for make in (nifti_types, nifti_forms, nifti_orders) for path, note in make()]
    golden = {"nifti": nifti, "itk": list(itk_formats()), "resampled": list(resampled())}
    (OUT / "golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()
