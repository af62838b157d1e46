//! Sets of public keys (RFC 7517), as issuers publish them: what each key verifies is pinned when the set is read.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::Key;

/// Keys of a set at most: issuers have two or three.
const KEYS_MAX: usize = 64;
/// Characters of an RSA key's modulus, in base64, at least: 2048 bits.
const RSA_CHARS_MIN: usize = 342;

/// All by public keys.
pub const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys of a set that one of these algorithms can be verified by. Those for encryption, and of other algorithms, are
/// passed over: sets have them for others.
///
/// # Errors
/// It is no set of public keys; the text says why, for people.
pub fn parse(text: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    let all = set.get("keys").and_then(Value::as_array);
    let all = all.ok_or_else(|| "has no list \"keys\"".to_owned())?;
    if all.len() > KEYS_MAX {
        return Err(format!("has more than {KEYS_MAX} keys"));
    }
    let mut keys = Vec::new();
    for (index, given) in all.iter().enumerate() {
        keys.extend(key(given, algorithms).map_err(|fault| format!("keys[{index}] {fault}"))?);
    }
    Ok(keys)
}

fn key(given: &Value, algorithms: &[Algorithm]) -> Result<Option<Key>, &'static str> {
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|what| what != "sig") {
        return Ok(None);
    }
    if text("kty") == Some("oct") || given.get("d").is_some() {
        return Err("is a secret, which has no place in a set of public keys");
    }
    // Of kinds that nobody here knows.
    let Ok(jwk) = serde_json::from_value::<Jwk>(given.clone()) else {
        return match text("kty") {
            Some("RSA" | "EC") => Err("cannot be read"),
            _ => Ok(None),
        };
    };
    let fits = |algorithm: &Algorithm| match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA.contains(algorithm),
        AlgorithmParameters::EllipticCurve(key) => matches!(
            (&key.curve, algorithm),
            (EllipticCurve::P256, Algorithm::ES256) | (EllipticCurve::P384, Algorithm::ES384)
        ),
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && *algorithm == Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(_) => false,
    };
    let only = match text("alg").map(str::parse::<Algorithm>) {
        None => None,
        Some(Ok(only)) => Some(only),
        // It is for something that nobody here knows.
        Some(Err(_)) => return Ok(None),
    };
    let fitting = algorithms.iter().filter(|algorithm| fits(algorithm));
    let pinned: Vec<Algorithm> = fitting
        .filter(|algorithm| only.is_none_or(|only| only == **algorithm))
        .copied()
        .collect();
    if pinned.is_empty() {
        return Ok(None);
    }
    if let AlgorithmParameters::RSA(key) = &jwk.algorithm
        && key.n.len() < RSA_CHARS_MIN
    {
        return Err("is an RSA key of less than 2048 bits");
    }
    if DecodingKey::from_jwk(&jwk).is_err() {
        return Err("cannot be verified by");
    }
    Ok(Some(Key {
        id: text("kid").map(str::to_owned),
        jwk,
        algorithms: pinned,
    }))
}
