use super::*;

const ORT: &Library = &LIBRARIES[0];
const OPENVINO: &Library = &LIBRARIES[1];

#[test]
fn versions_compare_as_numbers() {
    let cases = [
        ("1.9.0", "1.32.0", Ordering::Less),
        ("1.32.0", "1.32.0", Ordering::Equal),
        ("2026.4.1", "2025.9.9", Ordering::Greater),
        ("", "0.1", Ordering::Less),
        ("1.32.0.1", "1.32.0", Ordering::Greater),
    ];
    for (a, b, want) in cases {
        assert_eq!(compare_versions(a, b), want, "{a} and {b}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_is_known_by_its_whole_name() {
    let cases = [
        (ORT, "libonnxruntime.so", Some("")),
        (ORT, "libonnxruntime.so.1.32.0", Some("1.32.0")),
        (ORT, "libonnxruntime_providers_shared.so", None),
        (ORT, "libonnxruntime.so.bak", None),
        (ORT, "onnxruntime.so", None),
        (OPENVINO, "libopenvino_c.so.2641", Some("2026.4.1")),
        (OPENVINO, "libopenvino_c.so.2025", Some("2020.2.5")),
        (OPENVINO, "libopenvino_c.so.26410", Some("26410")),
        (OPENVINO, "libopenvino.so.2641", None),
    ];
    for (library, name, want) in cases {
        assert_eq!(library.version_in(name).as_deref(), want, "{name}");
    }
}

/// A folder laid out like a machine with these files.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    root
}

fn manifest(version: &str, library: &str) -> String {
    let manifest = Manifest {
        engine: "onnxruntime".into(),
        version: version.into(),
        wheel: String::new(),
        wheel_sha256: String::new(),
        library: library.into(),
        library_sha256: String::new(),
        licences: Vec::new(),
    };
    serde_json::to_string(&manifest).expect("plain fields")
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_place_that_has_a_library_wins_and_there_the_highest_version() {
    let packages = "lib/python3.11/site-packages/onnxruntime";
    let machine = machine(&[
        ("given/libonnxruntime.so.1.20.0", ""),
        ("given/libonnxruntime.so.1.9.0", ""),
        (
            "cache/engines/onnxruntime-1.31.0/manifest.json",
            &manifest("1.31.0", "lib/a.so"),
        ),
        ("cache/engines/onnxruntime-1.31.0/lib/a.so", ""),
        (
            "cache/engines/onnxruntime-1.9.0/manifest.json",
            &manifest("1.9.0", "lib/a.so"),
        ),
        ("cache/engines/onnxruntime-1.9.0/lib/a.so", ""),
        ("cache/engines/.new-xyz/lib/a.so", ""),
        (&format!("env/{packages}/capi/libonnxruntime.so.1.30.0"), ""),
        (&format!("env/{packages}-1.30.0.dist-info/METADATA"), ""),
        (&format!("bare/{packages}/capi/libonnxruntime.so"), ""),
        (&format!("bare/{packages}-1.29.0.dist-info/METADATA"), ""),
    ]);
    let root = fs::canonicalize(machine.path()).expect("it is there");
    let given = |name: &str| vec![("onnxruntime", root.join(name))];
    let places = |explicit, cache: Option<&str>, env: Option<&str>| Places {
        explicit,
        cache: cache.map(|c| root.join(c)),
        virtual_env: env.map(|e| root.join(e)),
        ..Places::default()
    };
    let all = (Some("cache"), Some("env"));
    let variable = How::Variable("ORT_DYLIB_PATH");
    let cases = [
        (places(given("given"), all.0, all.1), "1.20.0", variable),
        (
            places(given("given/libonnxruntime.so.1.9.0"), all.0, all.1),
            "1.9.0",
            variable,
        ),
        (places(vec![], all.0, all.1), "1.31.0", How::Cache),
        (places(vec![], None, all.1), "1.30.0", How::VirtualEnv),
        (
            places(vec![], Some("none"), Some("bare")),
            "1.29.0",
            How::VirtualEnv,
        ),
    ];
    for (places, version, how) in cases {
        match places.find("onnxruntime") {
            Availability::Found(found) => {
                assert_eq!((found.version.as_str(), found.how), (version, how));
                let path = found.path.expect("a library");
                assert!(path.is_absolute() && path.is_file(), "{}", path.display());
            }
            other => panic!("{version} by {how}: {other:?}"),
        }
        assert_eq!(places.search("onnxruntime").len(), 4);
    }
}

#[test]
fn absence_names_the_command_and_damage_names_the_file() {
    let machine = machine(&[
        (
            "cache/engines/onnxruntime-1.32.0/manifest.json",
            "{\"engine\": 3}",
        ),
        (
            "gone/engines/onnxruntime-1.32.0/manifest.json",
            &manifest("1.32.0", "lib/a.so"),
        ),
        ("empty/engines/other-1/x", ""),
    ]);
    let cache = |name: &str| Places {
        cache: Some(machine.path().join(name)),
        ..Places::default()
    };
    let given = Places {
        explicit: vec![("onnxruntime", machine.path().join("no-such-file"))],
        ..Places::default()
    };
    let cases = [
        (
            cache("empty"),
            "Missing",
            "slicewise engines add onnxruntime",
        ),
        (
            Places::default(),
            "Missing",
            "slicewise engines add onnxruntime",
        ),
        (
            cache("cache"),
            "Broken",
            "slicewise engines add onnxruntime",
        ),
        (cache("gone"), "Broken", "manifest.json"),
        (given, "Broken", "ORT_DYLIB_PATH names no library"),
    ];
    for (places, kind, text) in cases {
        let got = format!("{:?}", places.find("onnxruntime"));
        assert!(got.starts_with(kind) && got.contains(text), "{got}");
    }
    let native = Places::default().find("native");
    assert!(matches!(
        native,
        Availability::Found(Found { path: None, .. })
    ));
}

#[test]
fn a_search_is_written_with_its_places_and_reasons() {
    let places = Places {
        cache: Some("/nowhere".into()),
        ..Places::default()
    };
    let text = serde_json::to_string(&places.search("openvino")).expect("plain fields");
    let want = concat!(
        r#"[{"how":"SLICEWISE_OPENVINO","why":"not set"},"#,
        r#"{"how":"engine cache","why":"nothing in /nowhere/engines"},"#,
        r#"{"how":"VIRTUAL_ENV","why":"not set"},"#,
        r#"{"how":"python3","why":"nothing there"}]"#
    );
    assert_eq!(text, want);
}

#[cfg(unix)]
#[test]
fn a_python_is_asked_for_its_packages_and_a_broken_one_has_none() {
    use std::os::unix::fs::PermissionsExt;
    let machine = machine(&[
        (
            "good",
            "#!/bin/sh\necho /a/site-packages\necho relative\necho /b/site-packages\n",
        ),
        ("bad", "#!/bin/sh\necho no >&2\nexit 1\n"),
    ]);
    let path = |name: &str| machine.path().join(name);
    for name in ["good", "bad"] {
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path(name), permissions).expect("it is ours");
    }
    let want: Vec<PathBuf> = vec!["/a/site-packages".into(), "/b/site-packages".into()];
    assert_eq!(ask(&path("good")), want);
    assert_eq!(ask(&path("bad")), Vec::<PathBuf>::new());
    assert_eq!(ask(&path("absent")), Vec::<PathBuf>::new());
}
