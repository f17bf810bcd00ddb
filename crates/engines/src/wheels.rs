//! The packages that are known: their file names and what they must contain.
//!
//! The SHA-256 sums are of the files that the package index served for the pinned versions in
//! November 2026. A new version is a new list, made by downloading it and looking at it.

/// A package of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wheel {
    /// The file's name, which states version, Python and platform.
    pub(crate) file: &'static str,
    /// The SHA-256 of the file.
    pub(crate) sha256: &'static str,
}

/// The Python whose packages are asked for. The libraries in them are the same for every Python, so
/// which one the user has does not matter.
pub(crate) const PYTHON: &str = "311";

/// Every package that is known.
pub(crate) const WHEELS: [Wheel; 18] = [
    Wheel {
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        sha256: "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        sha256: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp313-cp313-manylinux_2_28_aarch64.whl",
        sha256: "54d02baff2df38777b4c3cc7af326406fe8b8a48f54720f4c446d2d327920a79",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp313-cp313-manylinux_2_28_x86_64.whl",
        sha256: "02ea12a28c069ea8510093d95a7f6ff8126bfd9fc5c0d3381c03b80fb2b424ba",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp314-cp314-manylinux_2_28_aarch64.whl",
        sha256: "4135431395c1f37de0811f452c20a8b774f51812fda6c49611ed9899bbdbeeb4",
    },
    Wheel {
        file: "onnxruntime-1.32.0-cp314-cp314-manylinux_2_28_x86_64.whl",
        sha256: "48b878f9551d465aa79ee94ecaf49a1f6b5d27f2975efa775ded374db14d0af1",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp310-cp310-manylinux_2_28_x86_64.whl",
        sha256: "47dcccbab40a23aed1dc4af7c43a9c813cc61f684d66498e1627d407d5f2770b",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp310-cp310-manylinux_2_35_aarch64.whl",
        sha256: "c9fed6c278b3f0314a53b4366fe8811bd784f24a60335b318dff1e3ae3bbb5c0",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp311-cp311-manylinux_2_28_x86_64.whl",
        sha256: "2d22b1da03f7caf74df30e9f6417d0ab2f637e4a38e08e1dcd294d2c37407aaf",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp311-cp311-manylinux_2_35_aarch64.whl",
        sha256: "bea1eb3733c34ef331adc945da0ccda5937865031139073663be84c517ffda22",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp312-cp312-manylinux_2_28_x86_64.whl",
        sha256: "6b4375c17ddcac83a5180349e2e2bb811185c261066e2a920659892d58ef0e3b",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp312-cp312-manylinux_2_35_aarch64.whl",
        sha256: "82efccb2f9f1bdc7e5a1996e05a3b719ebff9232dd54b44150d6d2e983a86b7d",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp313-cp313-manylinux_2_28_x86_64.whl",
        sha256: "a9b637846c579d7b81b17b6585e0c7b1947574e8d13cf83d7307ce50cd2c352e",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp313-cp313-manylinux_2_35_aarch64.whl",
        sha256: "fc45339ff7d539de76e6d7b04135c120504c797cfc8c2a0dde3d2d616b30c758",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp314-cp314-manylinux_2_28_x86_64.whl",
        sha256: "3631dd889dccf3d5087775948590a6609a662f90c24a9cf85bb4dfa0cdd7fd2f",
    },
    Wheel {
        file: "openvino-2026.4.1-22982-cp314-cp314-manylinux_2_35_aarch64.whl",
        sha256: "b70a01f6961bf8fe4b647b14fb122be4d30ece02292a9831f9241a64be089676",
    },
];
