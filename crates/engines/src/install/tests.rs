use std::io::Write;

use super::*;

const ORT: &Package = &PACKAGES[0];
const OPENVINO: &Package = &PACKAGES[1];

#[test]
fn every_listed_package_belongs_to_an_engine_and_no_sum_is_listed_twice() {
    let mut sums: Vec<&str> = WHEELS.iter().map(|w| w.sha256).collect();
    sums.sort_unstable();
    sums.dedup();
    assert_eq!(sums.len(), WHEELS.len());
    for wheel in WHEELS {
        let of = |p: &Package| {
            wheel
                .file
                .starts_with(&format!("{}-{}-", p.engine, p.version))
        };
        assert!(PACKAGES.iter().any(of), "{}", wheel.file);
        assert!(
            wheel.sha256.len() == 64 && wheel.file.ends_with(".whl"),
            "{}",
            wheel.file
        );
    }
}

#[test]
fn only_libraries_and_licences_have_a_place_in_the_cache() {
    let cases: &[(&Package, &str, Option<&str>)] = &[
        (
            ORT,
            "onnxruntime/capi/libonnxruntime.so.1.32.0",
            Some("lib/libonnxruntime.so.1.32.0"),
        ),
        (
            ORT,
            "onnxruntime/capi/libonnxruntime_providers_shared.so",
            Some("lib/libonnxruntime_providers_shared.so"),
        ),
        (ORT, "onnxruntime/capi/onnxruntime_pybind11_state.so", None),
        (ORT, "onnxruntime/capi/training/libother.so", None),
        (ORT, "onnxruntime/capi/__init__.py", None),
        (ORT, "onnxruntime/LICENSE", Some("licences/LICENSE")),
        (
            ORT,
            "onnxruntime/ThirdPartyNotices.txt",
            Some("licences/ThirdPartyNotices.txt"),
        ),
        (ORT, "onnxruntime/capi/../../../libevil.so", None),
        (ORT, "onnxruntime/capi/..\\libevil.so", None),
        (ORT, "/etc/LICENSE", None),
        (ORT, "../LICENSE", None),
        (ORT, "", None),
        (
            OPENVINO,
            "openvino/libs/libopenvino_c.so.2641",
            Some("lib/libopenvino_c.so.2641"),
        ),
        (
            OPENVINO,
            "openvino/libs/libtbb.so.12",
            Some("lib/libtbb.so.12"),
        ),
        (
            OPENVINO,
            "openvino/libs/libopenvino_intel_gpu_plugin.so",
            None,
        ),
        (OPENVINO, "openvino/libs/cache.json", None),
        (
            OPENVINO,
            "openvino-2026.4.1.dist-info/licenses/licensing/onetbb_third-party-programs.txt",
            Some("licences/onetbb_third-party-programs.txt"),
        ),
    ];
    for (package, name, want) in cases {
        assert_eq!(package.destination(name), want.map(PathBuf::from), "{name}");
    }
}

/// A package file with these entries.
fn wheel(folder: &Path, name: &str, entries: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join(name);
    let mut writer = zip::ZipWriter::new(File::create(&path).expect("a new file"));
    for (name, content) in entries {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).expect("a new entry");
        writer.write_all(content).expect("the entry takes it");
    }
    writer.finish().expect("the archive ends");
    path
}

#[test]
fn a_package_that_is_not_the_known_one_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let named = WHEELS
        .iter()
        .find(|w| w.file.starts_with("onnxruntime"))
        .expect("it is listed");
    let altered = wheel(folder.path(), named.file, &[("onnxruntime/LICENSE", b"?")]);
    let other = wheel(
        folder.path(),
        "onnxruntime-9.whl",
        &[("onnxruntime/LICENSE", b"?")],
    );
    let cases = [
        ("onnxruntime", altered.as_path(), "is damaged or altered"),
        ("onnxruntime", other.as_path(), "is not a known package"),
        (
            "openvino",
            altered.as_path(),
            "is not a known package of openvino",
        ),
        ("onnxruntime", Path::new("/no/such/file"), "/no/such/file: "),
        ("tensorrt", other.as_path(), "'tensorrt' cannot be added"),
        ("native", other.as_path(), "native is built in"),
    ];
    let cache = folder.path().join("cache");
    for (engine, file, want) in cases {
        let error = add_to(&cache, engine, Some(file), &mut |_| {}).expect_err(engine);
        let error = error.to_string();
        assert!(error.contains(want) && !error.contains('\n'), "{error}");
    }
    let left = fs::read_dir(cache.join("engines"))
        .expect("the folder")
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_package_is_unpacked_whole_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries: &[(&str, &[u8])] = &[
        ("onnxruntime/capi/libonnxruntime.so.1.32.0", b"library"),
        ("onnxruntime/capi/onnxruntime_pybind11_state.so", b"unused"),
        ("onnxruntime/LICENSE", b"licence"),
        ("onnxruntime/../../../escaped/LICENSE", b"licence elsewhere"),
    ];
    let file = wheel(folder.path(), "package.whl", &entries[..3]);
    let home = folder.path().join("onnxruntime-1.32.0");
    let work = || tempfile::tempdir_in(folder.path()).expect("a folder");
    assert_eq!(ORT.installed(&home), None);
    unpack(ORT, &file, "sum", work(), &home).expect("it unpacks");
    let installed = ORT.installed(&home).expect("it is there");
    assert_eq!(installed.library, home.join("lib/libonnxruntime.so.1.32.0"));
    assert_eq!(installed.licences, [home.join("licences/LICENSE")]);
    assert_eq!(fs::read(&installed.library).expect("a file"), b"library");
    assert_eq!(fs::read_dir(home.join("lib")).expect("a folder").count(), 1);

    // A changed library is not taken for an installed one, and adding it again mends it.
    fs::write(&installed.library, b"damaged").expect("a file");
    assert_eq!(ORT.installed(&home), None);
    unpack(ORT, &file, "sum", work(), &home).expect("it unpacks over the old one");
    assert!(ORT.installed(&home).is_some());

    // Two files for one place, one of them from outside the package's folders.
    let hostile = wheel(folder.path(), "hostile.whl", entries);
    let error = unpack(ORT, &hostile, "sum", work(), &home).expect_err("a clash");
    assert!(error.to_string().contains("LICENSE"), "{error}");
    assert!(!folder.path().join("escaped").exists());
    assert!(ORT.installed(&home).is_some());

    let empty = wheel(folder.path(), "empty.whl", &entries[2..3]);
    let error = unpack(ORT, &empty, "sum", work(), &home).expect_err("no library");
    assert!(
        error.to_string().contains("holds no libonnxruntime.so"),
        "{error}"
    );
    let garbage = folder.path().join("garbage.whl");
    fs::write(&garbage, b"PK\x03\x04 and nothing more").expect("a file");
    assert!(unpack(ORT, &garbage, "sum", work(), &home).is_err());
}

#[test]
fn pip_is_quoted_where_it_says_error() {
    let cases = [
        (
            "WARNING: x\nERROR: Could not find it\n[notice] A new release\n",
            "Could not find it",
        ),
        ("no such option\n\n", "no such option"),
        (
            "ERROR: Could not find a version (from versions: none)\nERROR: No match for y\n",
            "the package index has none or cannot be reached (No match for y)",
        ),
    ];
    for (said, want) in cases {
        assert_eq!(reason(said), want);
    }
}
