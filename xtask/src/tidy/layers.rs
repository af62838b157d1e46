//! Which part may know which: the invariants on layers, as what code names.

use super::code::is_word;
use super::{Fault, File, Tree};

/// One boundary.
struct Layer {
    /// Folder, or file and folder of a module, that the rule is for.
    of: &'static str,
    /// The crate, or the root module, whose parts are meant.
    within: &'static str,
    /// Parts that must not be named there.
    forbidden: &'static [&'static str],
    /// Why, and what to do instead.
    remedy: &'static str,
}

const LAYERS: [Layer; 4] = [
    Layer {
        of: "gateway-userspace/src/l7",
        within: "crate",
        forbidden: &["l4", "cluster", "admin"],
        remedy: "l7 knows the snapshot and plain events only; let gateway.rs or control.rs connect the two",
    },
    Layer {
        of: "gateway-userspace/src/l4",
        within: "crate",
        forbidden: &["l7"],
        remedy: "l4 knows the snapshot and plain events only; let gateway.rs or control.rs connect the two",
    },
    Layer {
        of: "gateway-ebpf/src",
        within: "gateway_common",
        forbidden: &["checksum", "encap", "headers"],
        remedy: "the kernel program decides nothing by a protocol's field; put it into gateway-common",
    },
    Layer {
        of: "gateway-common/src",
        within: "std",
        forbidden: &["env", "fs", "io", "net", "os", "process", "thread", "time"],
        remedy: "gateway-common has no I/O, clock or threads; pass in what they would have told",
    },
];

/// Checks what code names, and that xtask builds when the gateway does not.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for (file, code) in tree.rust() {
        let text = code.text();
        for layer in LAYERS.iter().filter(|layer| belongs(&file.path, layer.of)) {
            for (line, name) in parts_named(&text, layer.within) {
                if layer.forbidden.contains(&name) {
                    let remedy = format!("`{}::{name}`: {}", layer.within, layer.remedy);
                    faults.push(file.fault(line, "layer", remedy));
                }
            }
        }
    }
    for file in tree.files.iter().filter(|file| file.path == "xtask/Cargo.toml") {
        independence(file, faults);
    }
}

fn independence(manifest: &File, faults: &mut Vec<Fault>) {
    for (index, line) in manifest.text.lines().enumerate() {
        if line.trim_start().starts_with("gateway") {
            let remedy = "xtask depends on no gateway crate, so that it builds when they do not";
            faults.push(manifest.fault(index + 1, "layer", remedy));
        }
    }
}

/// True for the module's file `of.rs` and everything in the folder `of`.
fn belongs(path: &str, of: &str) -> bool {
    path.strip_prefix(of)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// What code names directly under `root::`, with the line; also inside `root::{…}`.
fn parts_named<'a>(text: &'a str, root: &str) -> Vec<(usize, &'a str)> {
    let mark = format!("{root}::");
    let mut parts = Vec::new();
    for (at, _) in text.match_indices(&mark) {
        let before = text.get(..at).unwrap_or_default();
        if before.ends_with(is_word) || before.ends_with("::") {
            continue;
        }
        let line = before.matches('\n').count() + 1;
        let rest = text.get(at + mark.len()..).unwrap_or_default();
        match rest.trim_start().strip_prefix('{') {
            Some(list) => parts.extend(list_heads(list, line)),
            None => parts.push((line, head(rest))),
        }
    }
    parts
}

/// The first names of the items of a `use` list, after its opening brace.
fn list_heads(list: &str, first_line: usize) -> Vec<(usize, &str)> {
    let (mut heads, mut line, mut depth, mut awaiting) = (Vec::new(), first_line, 0_usize, true);
    for (at, letter) in list.char_indices() {
        match letter {
            '\n' => line += 1,
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => awaiting = true,
            letter if awaiting && is_word(letter) => {
                heads.push((line, head(list.get(at..).unwrap_or_default())));
                awaiting = false;
            }
            _ => {}
        }
    }
    heads
}

fn head(text: &str) -> &str {
    let end = text.find(|letter| !is_word(letter)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::expect;
    use super::*;

    #[test]
    fn l7_and_l4_do_not_know_each_other() {
        let l7 = "gateway-userspace/src/l7/serve.rs";
        expect(
            check,
            l7,
            "use crate::config::snapshot;\nuse crate::l7::pool;\n",
            &[],
        );
        expect(check, l7, "use crate::l4::DataPlane;\n", &[(1, "layer")]);
        expect(
            check,
            l7,
            "fn f() {\n    crate::admin::serve()\n}\n",
            &[(2, "layer")],
        );
        expect(
            check,
            l7,
            "use crate::{\n    config::{admin, l4},\n    cluster::Cluster,\n};\n",
            &[(3, "layer")],
        );
        expect(check, l7, "// crate::l4\nlet a = \"crate::l4\";\n", &[]);
        expect(
            check,
            "gateway-userspace/src/l7.rs",
            "use crate::cluster;\n",
            &[(1, "layer")],
        );
        expect(
            check,
            "gateway-userspace/src/l4/loader.rs",
            "use crate::l7;\n",
            &[(1, "layer")],
        );
        expect(
            check,
            "gateway-userspace/src/control.rs",
            "use crate::{l4, l7};\n",
            &[],
        );
        expect(check, "gateway-userspace/src/l70.rs", "use crate::l4;\n", &[]);
    }

    #[test]
    fn the_kernel_program_reads_no_headers() {
        expect(
            check,
            "gateway-ebpf/src/program.rs",
            "use gateway_common::headers::Ipv4;\n",
            &[(1, "layer")],
        );
        expect(
            check,
            "gateway-ebpf/src/program.rs",
            "use gateway_common::{forward, verdict::Verdict};\n",
            &[],
        );
    }

    #[test]
    fn the_packets_way_has_no_clock() {
        expect(
            check,
            "gateway-common/src/memory.rs",
            "use std::time::Instant;\n",
            &[(1, "layer")],
        );
        expect(
            check,
            "gateway-common/src/memory.rs",
            "use std::collections::HashMap;\n",
            &[],
        );
    }

    #[test]
    fn xtask_builds_when_the_gateway_does_not() {
        expect(
            check,
            "xtask/Cargo.toml",
            "[dependencies]\nanyhow.workspace = true\n",
            &[],
        );
        expect(
            check,
            "xtask/Cargo.toml",
            "[dependencies]\ngateway-common = \"1\"\n",
            &[(2, "layer")],
        );
    }
}
