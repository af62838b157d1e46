//! A certificate's subject as a text that no other subject has: that of RFC 4514.
//!
//! Routes compare it (`client_certificate.subject`), so that characters which mean something between attributes are escaped
//! inside values: who is called `a,O=b` is not who is called `a` and of `b`. It is what
//! `openssl x509 -noout -subject -nameopt RFC2253,utf8,-esc_msb` writes, but for attributes that neither RFC nor the two
//! names below have a word for.

use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Words for attribute types: the table of RFC 4514, section 3, and two that clients' certificates often have.
const WORDS: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
];

/// The text of a name: its parts from the last to the first.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().map(|part| {
        let attributes: Vec<String> = part.iter().map(attribute).collect();
        attributes.join("+")
    });
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let id = attribute.attr_type().to_id_string();
    let word = WORDS
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, word)| *word);
    match (word, attribute.as_str()) {
        (Some(word), Ok(value)) => format!("{word}={}", escaped(value)),
        // Of what is no plain string, and of unknown attributes, the bytes.
        (word, _) => {
            let mut text = format!("{}=#", word.unwrap_or(&id));
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                text.push_str(&format!("{byte:02X}"));
            }
            text
        }
    }
}

/// As section 2.4 has it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, letter) in value.chars().enumerate() {
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            letter if letter.is_ascii_control() => text.push_str(&format!("\\{:02X}", u32::from(letter))),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    use crate::tls::Facts;

    fn subject(parts: &[(DnType, DnValue)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Facts::read(certificate.der()).unwrap().subject
    }

    #[test]
    fn no_two_subjects_have_one_text() {
        let text = |value: &str| DnValue::Utf8String(value.to_owned());
        let unit = DnType::OrganizationalUnitName;
        let rows: [(&[(DnType, DnValue)], &str); 9] = [
            (&[], ""),
            (&[(DnType::CommonName, text("robot"))], "CN=robot"),
            (
                &[
                    (DnType::OrganizationName, text("Example")),
                    (DnType::CommonName, text("robot")),
                ],
                "CN=robot,O=Example",
            ),
            (
                &[(DnType::CommonName, text("robot,O=Example"))],
                "CN=robot\\,O=Example",
            ),
            (&[(DnType::CommonName, text(" a b "))], "CN=\\ a b\\ "),
            (
                &[(DnType::CommonName, text("#1\"+;<>\\\n\0"))],
                "CN=\\#1\\\"\\+\\;\\<\\>\\\\\\0A\\00",
            ),
            (&[(unit.clone(), text("Zürich"))], "OU=Zürich"),
            (
                &[(unit, DnValue::BmpString("ab".try_into().unwrap()))],
                "OU=#1E0400610062",
            ),
            (
                &[(DnType::CustomDnType(vec![1, 2, 3, 4]), text("x"))],
                "1.2.3.4=#0C0178",
            ),
        ];
        for (parts, expected) in rows {
            assert_eq!(subject(parts), expected);
        }
    }
}
