//! Two frames side by side: the fields that differ by their names, and the bytes that no decoder knows.

use super::decode::{Decoded, Layer};

/// Bytes in one line of a dump.
const DUMP_BYTES: usize = 16;

/// Lines of a dump; more would bury the fields.
const DUMP_LINES_MAX: usize = 12;

/// What differs, line by line.
pub fn diff((expected, wanted): (&[u8], &Decoded), (found, seen): (&[u8], &Decoded)) -> Vec<String> {
    let mut lines = Vec::new();
    let count = wanted.layers.len().max(seen.layers.len());
    for index in 0..count {
        match (wanted.layers.get(index), seen.layers.get(index)) {
            (Some(wanted), Some(seen)) if wanted.name == seen.name => fields(wanted, seen, &mut lines),
            (wanted, seen) => {
                whole("expected", wanted, &mut lines);
                whole("found", seen, &mut lines);
            }
        }
    }
    let rest = |frame: &[u8], decoded: &Decoded| frame.get(decoded.rest_at..).unwrap_or_default().to_vec();
    let (wanted_rest, seen_rest) = (rest(expected, wanted), rest(found, seen));
    if wanted_rest != seen_rest {
        dump("expected", &wanted_rest, wanted.rest_at, &mut lines);
        dump("found", &seen_rest, seen.rest_at, &mut lines);
    }
    lines
}

/// The fields of one header that differ.
fn fields(wanted: &Layer, seen: &Layer, lines: &mut Vec<String>) {
    if wanted == seen {
        return;
    }
    lines.push(wanted.name.clone());
    let value = |layer: &Layer, name: &str| {
        let field = layer.fields.iter().find(|field| field.name == name);
        field.map_or_else(|| "nothing".to_owned(), |field| field.value.clone())
    };
    let only_seen =
        (seen.fields.iter()).filter(|field| wanted.fields.iter().all(|other| other.name != field.name));
    for field in wanted.fields.iter().chain(only_seen) {
        let (wanted, seen) = (value(wanted, field.name), value(seen, field.name));
        if wanted != seen {
            lines.push(format!("  {}: expected {wanted}, found {seen}", field.name));
        }
    }
}

/// A header that has no counterpart.
fn whole(side: &str, layer: Option<&Layer>, lines: &mut Vec<String>) {
    let Some(layer) = layer else { return };
    lines.push(format!("{} (only {side})", layer.name));
    lines.extend(
        layer
            .fields
            .iter()
            .map(|field| format!("  {}: {}", field.name, field.value)),
    );
}

fn dump(side: &str, bytes: &[u8], start: usize, lines: &mut Vec<String>) {
    lines.push(format!("{} bytes behind the headers, {side}", bytes.len()));
    for (index, chunk) in bytes.chunks(DUMP_BYTES).take(DUMP_LINES_MAX).enumerate() {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| {
            if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '.'
            }
        };
        let text: String = chunk.iter().map(printable).collect();
        lines.push(format!(
            "  {:04x}  {:<47}  {text}",
            start + index * DUMP_BYTES,
            hex.join(" ")
        ));
    }
    if bytes.len() > DUMP_BYTES * DUMP_LINES_MAX {
        lines.push("  …".to_owned());
    }
}
