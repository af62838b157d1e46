//! What a route matches: hosts, paths and methods, as the router wants them.
//!
//! Requests are normalised before they are matched, so a pattern must be in normal form itself or it would never match.
//! Source: RFC 3986, sections 3.3 and 6.2.2; RFC 9110, section 9.1 for methods.

use http::Method;

use crate::config::limits;
use crate::router::{Expression, HostPattern, PathPattern};

/// What is wrong with a pattern, and what to write instead.
pub type Wrong = (String, String);

/// A host pattern.
///
/// # Errors
/// Where it could match no `Host` of any request.
pub fn host(text: &str) -> Result<HostPattern, Wrong> {
    let wrong = |fault: &str, remedy: &str| Err((format!("\"{text}\" {fault}"), remedy.to_owned()));
    let lower = text.to_ascii_lowercase();
    if lower == "*" {
        return wrong("is every host", "leave hosts out for that");
    }
    let is_v6 = |host: &str| {
        host.strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if is_v6(&lower) {
        return Ok(HostPattern::Exact(lower));
    }
    if lower.contains(':') || lower.contains('/') {
        return wrong(
            "is more than a host",
            "write the host name alone, without scheme, port or path",
        );
    }
    let (name, pattern): (&str, fn(String) -> HostPattern) = match lower.strip_prefix("*.") {
        Some(suffix) => (suffix, HostPattern::Wildcard),
        None => (lower.as_str(), HostPattern::Exact),
    };
    if name.contains('*') {
        return wrong(
            "has a * that is not its first label",
            "write it as in \"*.example.com\"",
        );
    }
    let is_label = |label: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_plain)
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return wrong(
            "is not a host name",
            "write it as in \"api.example.com\"; beyond ASCII as \"xn--…\"",
        );
    }
    Ok(pattern(name.to_owned()))
}

/// A pattern for whole paths, with `{name}` for any one segment.
///
/// # Errors
/// Where no normalised path could match it.
pub fn path(text: &str) -> Result<PathPattern, Wrong> {
    check_form(text)?;
    let mut names: Vec<&str> = Vec::new();
    for segment in text.split('/').filter(|segment| segment.contains(['{', '}'])) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name.filter(|name| !name.contains(['{', '}'])) else {
            let fault = format!("\"{text}\" has braces around less than a segment: {segment}");
            return Err((
                fault,
                "write a segment in braces whole, as in \"/users/{id}\"".to_owned(),
            ));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_plain) {
            let fault = format!("\"{text}\" has a parameter that is no name: {segment}");
            return Err((
                fault,
                "write letters, digits and '_', as in \"/users/{id}\"".to_owned(),
            ));
        }
        if names.contains(&name) {
            let fault = format!("\"{text}\" has the parameter {segment} twice");
            return Err((fault, "give each its own name".to_owned()));
        }
        names.push(name);
    }
    Ok(PathPattern::Exact(text.to_owned()))
}

/// A pattern for the start of a path.
///
/// # Errors
/// Where no normalised path could match it, or it means less than it seems to.
pub fn path_prefix(text: &str) -> Result<PathPattern, Wrong> {
    check_form(text)?;
    if text.contains(['{', '}']) {
        return Err((
            format!("\"{text}\" has braces"),
            "parameters are for match.path; a prefix is plain".to_owned(),
        ));
    }
    match text.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => Err((
            format!("\"{text}\" ends with a slash"),
            format!("write \"{shorter}\": whole segments are compared"),
        )),
        _ => Ok(PathPattern::Prefix(text.to_owned())),
    }
}

/// An expression for whole paths.
///
/// # Errors
/// Where it cannot be compiled, or no path could match it.
pub fn path_regex(text: &str) -> Result<PathPattern, Wrong> {
    let begins = text.trim_start_matches(['^', '(']);
    // `(?` sets flags, a bar or a bracket may begin with anything: those are left to the writer.
    if !begins.starts_with(['/', '?', '[', '.', '\\']) {
        return Err((
            format!("\"{text}\" does not start with /, as every path does"),
            format!("write \"/{text}\""),
        ));
    }
    regex(text).map(PathPattern::Regex)
}

/// An expression for a whole text.
///
/// # Errors
/// Where it cannot be compiled.
pub fn regex(text: &str) -> Result<Expression, Wrong> {
    Expression::new(text).map_err(|fault| {
        (
            format!("\"{text}\" is not a regular expression that is taken: {fault}"),
            "write it as in \"/(img|css)/[a-z0-9]+\"; a backslash before what is meant as it stands"
                .to_owned(),
        )
    })
}

/// Normal form: what a request's path is turned into before it is matched.
///
/// # Errors
/// Where no normalised path has it.
pub fn check_form(text: &str) -> Result<(), Wrong> {
    let wrong = |fault: &str, remedy: String| Err((format!("\"{text}\" {fault}"), remedy));
    if !text.starts_with('/') {
        return wrong("does not start with /", format!("write \"/{text}\""));
    }
    if text.len() > limits::PATH_BYTES_MAX {
        return Err((
            format!("a path of {} bytes is too long", text.len()),
            format!("write at most {}", limits::PATH_BYTES_MAX),
        ));
    }
    if text.contains(['?', '#']) {
        return wrong(
            "has a query or a fragment",
            "write the path alone; match.query is for the query".to_owned(),
        );
    }
    if text.contains("//") {
        return wrong(
            "has an empty segment, which no request has",
            format!("write \"{}\"", merged(text)),
        );
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return wrong(
            "has a dot segment, which no request has",
            "write the path without it".to_owned(),
        );
    }
    if text.contains(['*', '\\']) {
        return wrong(
            "has a character that is no wildcard here",
            "use {name} for a segment, or path_prefix".to_owned(),
        );
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()+,;=:@/%{}".contains(c);
    if let Some(odd) = text.chars().find(|c| !is_plain(*c)) {
        let escaped: String = odd
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        return wrong(&format!("has {odd:?}"), format!("write it as {escaped}"));
    }
    check_escapes(text)
}

fn merged(text: &str) -> String {
    format!(
        "/{}",
        text.split('/')
            .filter(|segment| !segment.is_empty())
            .collect::<Vec<_>>()
            .join("/")
    )
}

/// Escapes stand in upper case, and only for what cannot stand for itself.
fn check_escapes(text: &str) -> Result<(), Wrong> {
    for rest in text.split('%').skip(1) {
        let digits = rest.get(..2).unwrap_or(rest);
        let byte = if digits.len() == 2 {
            u8::from_str_radix(digits, 16).ok()
        } else {
            None
        };
        let remedy = match byte {
            None => "write %25 for a percent sign".to_owned(),
            Some(b'/' | b'\\' | 0) => "write a path without it: requests with it are refused".to_owned(),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                format!("write {}", char::from(byte))
            }
            Some(_) if digits.contains(|c: char| c.is_ascii_lowercase()) => {
                format!("write %{}", digits.to_ascii_uppercase())
            }
            Some(_) => continue,
        };
        return Err((
            format!("\"{text}\" has the escape %{digits}, which no normalised path has"),
            remedy,
        ));
    }
    Ok(())
}

/// A method.
///
/// # Errors
/// Where no request that is taken could have it.
pub fn method(text: &str) -> Result<Method, Wrong> {
    let wrong = |fault: &str, remedy: String| Err((format!("\"{text}\" {fault}"), remedy));
    let Ok(method) = Method::from_bytes(text.as_bytes()) else {
        return wrong("is not a method", "write it as in \"GET\"".to_owned());
    };
    if text.contains(|c: char| c.is_ascii_lowercase()) {
        return wrong(
            "is not in upper case",
            format!("write \"{}\"", text.to_ascii_uppercase()),
        );
    }
    if method == Method::CONNECT {
        return wrong("is for forward proxies", "leave it out".to_owned());
    }
    Ok(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug + PartialEq>(
        read: fn(&str) -> Result<T, Wrong>,
        rows: &[(&str, Result<T, &str>)],
    ) {
        for (text, wanted) in rows {
            match (read(text), wanted) {
                (Ok(seen), Ok(wanted)) => assert_eq!(&seen, wanted, "{text}"),
                (Err((fault, remedy)), Err(wanted)) => {
                    let seen = format!("{fault}; {remedy}");
                    assert!(seen.contains(wanted), "{text}: {wanted:?} is not in {seen:?}");
                }
                (seen, wanted) => panic!("{text}: {seen:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn paths_are_taken_in_the_form_that_requests_are_brought_to() {
        let exact = |text: &str| Ok(PathPattern::Exact(text.to_owned()));
        check(
            path,
            &[
                ("/", exact("/")),
                ("/api/users/{id}", exact("/api/users/{id}")),
                ("/a%20b", exact("/a%20b")),
                ("/a/", exact("/a/")),
                ("", Err("does not start with /")),
                ("api", Err("write \"/api\"")),
                ("/a//b", Err("write \"/a/b\"")),
                ("/a/../b", Err("dot segment")),
                ("/a?b=c", Err("has a query")),
                ("/a b", Err("write it as %20")),
                ("/ä", Err("write it as %C3%A4")),
                ("/a%2Fb", Err("requests with it are refused")),
                ("/a%2", Err("write %25")),
                ("/a%é", Err("write it as %C3%A9")),
                ("/%7euser", Err("write ~")),
                ("/a%c3%a4", Err("write %C3")),
                ("/a*", Err("no wildcard here")),
                ("/user-{id}", Err("around less than a segment: user-{id}")),
                ("/{}", Err("is no name")),
                ("/{a}{b}", Err("around less than a segment")),
                ("/{a}/{a}", Err("twice")),
                ("/{1a}", Err("is no name")),
            ],
        );
        let prefix = |text: &str| Ok(PathPattern::Prefix(text.to_owned()));
        check(
            path_prefix,
            &[
                ("/", prefix("/")),
                ("/api", prefix("/api")),
                ("/api/", Err("write \"/api\"")),
                ("/api/{id}", Err("parameters are for match.path")),
            ],
        );
        let expression = |text: &str| Ok(PathPattern::Regex(Expression::new(text).unwrap()));
        check(
            path_regex,
            &[
                ("/a/[0-9]+", expression("/a/[0-9]+")),
                ("(?i)/a", expression("(?i)/a")),
                ("^/a$", expression("^/a$")),
                ("(/a|/b)", expression("(/a|/b)")),
                ("a/b", Err("write \"/a/b\"")),
                ("", Err("does not start with /")),
                (
                    "/(a",
                    Err("is not a regular expression that is taken: unclosed group"),
                ),
                ("/((a{100}){100}){100}", Err("repeat less in it")),
            ],
        );
    }

    #[test]
    fn hosts_are_lower_case_names_without_a_port() {
        check(
            host,
            &[
                (
                    "API.example.com",
                    Ok(HostPattern::Exact("api.example.com".to_owned())),
                ),
                (
                    "*.example.com",
                    Ok(HostPattern::Wildcard("example.com".to_owned())),
                ),
                ("192.0.2.1", Ok(HostPattern::Exact("192.0.2.1".to_owned()))),
                (
                    "[2001:db8::1]",
                    Ok(HostPattern::Exact("[2001:db8::1]".to_owned())),
                ),
                ("*", Err("leave hosts out")),
                ("a.*.com", Err("not its first label")),
                ("api:80", Err("without scheme, port or path")),
                ("https://api", Err("without scheme")),
                ("api.", Err("is not a host name")),
                ("", Err("is not a host name")),
                ("bücher.example", Err("xn--")),
            ],
        );
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        check(
            method,
            &[
                ("GET", Ok(Method::GET)),
                ("get", Err("write \"GET\"")),
                ("G T", Err("is not a method")),
                ("CONNECT", Err("forward proxies")),
            ],
        );
    }
}
