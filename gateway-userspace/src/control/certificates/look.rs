//! One look at the files: what is new and good is put into the settings, what is not stays as it was, and an event says so.
//!
//! Each file is judged by itself, so that a broken one holds up no other; a certificate and its key are one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Settings;
use crate::config::settings::{ListenerSettings, UpstreamSettings, UpstreamTls};
use crate::config::validate::{read_ticket_keys, renewed_filter};
use crate::events::{Events, Whose};
use crate::filters::{self, FilterSettings};
use crate::tls::{ClientSettings, ClientTls, Held, Pair, Roots, TicketKeys};

/// Why files are not taken, by file: each is said once, until it is another.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<PathBuf, String>);

/// A look.
pub(super) struct Look<'l> {
    events: &'l Events,
    now: SystemTime,
    faults: &'l mut Faults,
    /// What was read already: upstreams by the hundred may have one authority and one certificate of ours.
    pairs: HashMap<(PathBuf, PathBuf), Result<Pair, String>>,
    roots: HashMap<PathBuf, Result<Roots, String>>,
    /// By file: what a filter was, and what it is by the file.
    filters: HashMap<PathBuf, (filters::Settings, Result<filters::Settings, String>)>,
    changes: usize,
}

impl<'l> Look<'l> {
    /// Nothing is read yet.
    pub(super) fn new(events: &'l Events, now: SystemTime, faults: &'l mut Faults) -> Self {
        Self {
            events,
            now,
            faults,
            pairs: HashMap::new(),
            roots: HashMap::new(),
            filters: HashMap::new(),
            changes: 0,
        }
    }

    /// Reads all files; the settings with what has changed and is good, if anything has.
    ///
    /// Blocks on the file system, for some 0.1 ms a certificate.
    pub(super) fn at(mut self, settings: &Settings) -> Option<Settings> {
        let mut next = settings.clone();
        let mut routes = HashMap::new();
        for route in &mut next.routes {
            let whose = Whose::Route(&route.name);
            if let Some(filters) = self.filters(whose, &route.filters) {
                Arc::make_mut(route).filters = filters;
                routes.insert(route.name.clone(), Arc::clone(route));
            }
        }
        for listener in &mut next.listeners {
            self.listener(listener);
            // Theirs are the same.
            for route in &mut listener.routes {
                if let Some(next) = routes.get(&route.name) {
                    *route = Arc::clone(next);
                }
            }
        }
        for upstream in &mut next.upstreams {
            if let Some(tls) = self.upstream(upstream) {
                // Routes name their upstreams: what they hold of the old settings is not compiled.
                Arc::make_mut(upstream).tls = Some(tls);
            }
        }
        if let Some((file, held)) = &mut next.ticket_keys {
            self.ticket_keys(file, held);
        }
        (self.changes > 0).then_some(next)
    }

    fn listener(&mut self, listener: &mut ListenerSettings) {
        let whose = Whose::Listener(&listener.name);
        if let Some(filters) = self.filters(whose, &listener.filters) {
            listener.filters = filters;
        }
        let Some(tls) = &mut listener.tls else { return };
        for (files, held) in tls.files.iter().zip(&mut tls.server.pairs) {
            if let Some(pair) = self.pair(whose, files, held.pair()) {
                *held = Held::Pair(pair);
            }
        }
        if let Some(held) = &mut tls.server.client_roots
            && let Some(roots) = self.roots(whose, held)
        {
            *held = roots;
        }
    }

    fn upstream(&mut self, upstream: &UpstreamSettings) -> Option<UpstreamTls> {
        let tls = upstream.tls.as_ref()?;
        let whose = Whose::Upstream(&upstream.name);
        let held = tls.client.settings();
        let roots = self.roots(whose, &held.roots);
        let own = tls.files.as_ref().zip(held.pair.as_ref());
        let pair = own.and_then(|(files, held)| self.pair(whose, files, Some(held)));
        if roots.is_none() && pair.is_none() {
            return None;
        }
        let next = ClientSettings {
            roots: roots.unwrap_or_else(|| held.roots.clone()),
            name: held.name.clone(),
            pair: pair.or_else(|| held.pair.clone()),
        };
        match ClientTls::new(&next) {
            Ok(client) => Some(UpstreamTls {
                client: Arc::new(client),
                files: tls.files.clone(),
            }),
            Err(error) => {
                self.kept(whose, &next.roots.file, format!("cannot be used: {error}"));
                None
            }
        }
    }

    /// Those filters with what their files hold now, if that is another for any.
    fn filters(&mut self, whose: Whose<'_>, held: &[FilterSettings]) -> Option<Vec<FilterSettings>> {
        let mut next = None;
        for (index, filter) in held.iter().enumerate() {
            let Some(file) = &filter.file else { continue };
            let kind = &filter.kind;
            let known = self.filters.get(file).filter(|(before, _)| before == kind);
            let read = known.map(|(_, read)| read.clone());
            let read = read.unwrap_or_else(|| {
                let read = renewed_filter(kind, file);
                self.filters.insert(file.clone(), (kind.clone(), read.clone()));
                read
            });
            match read {
                Ok(now) if now == *kind => self.faults.mended(file),
                Ok(now) => {
                    self.taken(whose, file, &format!("filter {} goes by it", filter.name));
                    let all = next.get_or_insert_with(|| held.to_vec());
                    if let Some(filter) = all.get_mut(index) {
                        filter.kind = now;
                    }
                }
                Err(why) => self.kept(whose, file, why),
            }
        }
        next
    }

    fn ticket_keys(&mut self, file: &Path, held: &mut TicketKeys) {
        match read_ticket_keys(file) {
            Ok(keys) if keys == *held => self.faults.mended(file),
            Ok(keys) => {
                self.taken(Whose::All, file, "tickets are sealed by the new current key");
                *held = keys;
            }
            Err((fault, remedy)) => {
                self.kept(Whose::All, file, format!("{} {fault}; {remedy}", file.display()));
            }
        }
    }

    /// What the files hold, if that is good and another than what is held. Where nothing is held yet, it is no fault that there
    /// is nothing.
    fn pair(&mut self, whose: Whose<'_>, files: &(PathBuf, PathBuf), held: Option<&Pair>) -> Option<Pair> {
        let now = self.now;
        let read = self.pairs.entry(files.clone()).or_insert_with(|| {
            let (cert_file, key_file) = files;
            let pair = Pair::load(cert_file, key_file).map_err(|fault| fault.to_string())?;
            let valid = pair.facts.check(now);
            valid.map_err(|fault| format!("{} {fault}", cert_file.display()))?;
            Ok(pair)
        });
        let (file, read) = (&files.0, read.clone());
        match read {
            Ok(pair) if Some(&pair) == held => {
                self.faults.mended(file);
                None
            }
            Ok(pair) => {
                let until = humantime::format_rfc3339_seconds(pair.facts.not_after);
                self.taken(whose, file, &format!("valid until {until}"));
                Some(pair)
            }
            // Who orders it says what keeps it.
            Err(_) if held.is_none() => None,
            Err(why) => {
                self.kept(whose, file, why);
                None
            }
        }
    }

    /// The same of a file of authorities.
    fn roots(&mut self, whose: Whose<'_>, held: &Roots) -> Option<Roots> {
        let read = self.roots.entry(held.file.clone());
        let read = read.or_insert_with(|| Roots::load(&held.file).map_err(|fault| fault.to_string()));
        match read.clone() {
            Ok(roots) if roots == *held => {
                self.faults.mended(&held.file);
                None
            }
            Ok(roots) => {
                let count = roots.certificates.len();
                self.taken(whose, &held.file, &format!("authorities trusted now: {count}"));
                Some(roots)
            }
            Err(why) => {
                self.kept(whose, &held.file, why);
                None
            }
        }
    }

    /// Says what is wrong with a file, once; what it says is the same until it is mended.
    fn kept(&mut self, whose: Whose<'_>, file: &Path, why: String) {
        if self.faults.0.get(file) != Some(&why) {
            self.events.tell_file(whose, file, "kept", &why);
            self.faults.0.insert(file.to_owned(), why);
        }
    }

    fn taken(&mut self, whose: Whose<'_>, file: &Path, why: &str) {
        self.changes += 1;
        self.faults.mended(file);
        self.events.tell_file(whose, file, "renewed", why);
    }
}

impl Faults {
    fn mended(&mut self, file: &Path) {
        self.0.remove(file);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::load::load_text;
    use crate::config::surroundings::{Invalid, Surroundings};
    use crate::filters::jwt::tokens::KEYS;
    use crate::filters::passwords::tests::{ARGON2, BCRYPT};
    use crate::tls::testing::{Authority, Folder};

    const TEXT: &str = "
        [node]
        name = 'a'
        [[listener]]
        name = 'web'
        address = '127.0.0.1:8443'
        protocol = 'https'
        certificates = [{ cert_file = 'web.pem', key_file = 'web.key' }]
        tls = { client_auth = 'required', client_ca_file = 'clients.pem' }
        [[route]]
        name = 'all'
        listeners = ['web']
        match = { path_prefix = '/' }
        upstream = 'users'
        filters = [
            { name = 'staff', basic_auth = { file = 'staff' } },
            { name = 'partners', api_key = { file = 'partners', header = 'x-api-key' } },
            { name = 'tokens', jwt = { issuers = ['i'], audiences = ['a'], algorithms = ['ES256'], jwks_file = 'keys.json' } },
        ]
        [[upstream]]
        name = 'users'
        endpoints = [{ address = '10.0.0.1:443' }]
        tls = { ca_file = 'services.pem', server_name = 'users', cert_file = 'own.pem', key_file = 'own.key' }
        [[upstream]]
        name = 'orders'
        endpoints = [{ address = '10.0.0.2:443' }]
        tls = { ca_file = 'services.pem', cert_file = 'own.pem', key_file = 'own.key' }
    ";

    /// A folder with the files of a configuration, what is in force of it, and what looks said.
    struct Node {
        folder: Folder,
        authority: Authority,
        settings: Settings,
        events: Events,
        faults: Faults,
    }

    impl Node {
        fn new() -> Self {
            Self::of(TEXT)
        }

        fn of(text: &str) -> Self {
            let (folder, authority) = (Folder::new(), Authority::new("root"));
            folder.pair("web", &authority.issue(&["a.example"]));
            folder.pair("own", &authority.issue(&["gateway.internal"]));
            folder.file("clients.pem", &authority.pem(), 0o644);
            folder.file("services.pem", &authority.pem(), 0o644);
            folder.file("staff", &format!("ann:{BCRYPT}\n"), 0o600);
            folder.file("partners", &format!("shop:{}\n", "00".repeat(32)), 0o600);
            folder.file("keys.json", KEYS, 0o644);
            let surroundings = Surroundings {
                cores: 1,
                state_directory: "/state".into(),
                invalid: Invalid::Refused,
            };
            let settings = load_text(&folder.path().join("t.toml"), text, &surroundings).unwrap();
            Self {
                folder,
                authority,
                settings,
                events: Events::default(),
                faults: Faults::default(),
            }
        }

        /// Looks; what is new is in force then. What was said since the last look: whose, which file, what of it.
        fn look(&mut self) -> Vec<String> {
            let before = self.events.kept().len();
            let look = Look::new(&self.events, SystemTime::now(), &mut self.faults);
            if let Some(next) = look.at(&self.settings) {
                self.settings = next;
            }
            let told = self.events.kept();
            let told = told.iter().skip(before).map(|event| {
                let file = event.file.as_ref().unwrap().file_name().unwrap();
                let of = event.listener.as_deref().or(event.route.as_deref());
                let of = of.unwrap_or_default();
                format!("{}{of} {} {}", event.upstream, file.display(), event.to)
            });
            told.collect()
        }

        fn client(&self, upstream: usize) -> &ClientSettings {
            let tls = self.settings.upstreams[upstream].tls.as_ref();
            tls.unwrap().client.settings()
        }
    }

    #[test]
    fn where_nothing_has_changed_nothing_comes_of_a_look() {
        let mut node = Node::new();
        let before = node.settings.clone();
        assert_eq!(node.look(), Vec::<String>::new());
        assert_eq!(node.settings, before);
    }

    #[test]
    fn our_certificate_for_endpoints_is_taken_with_its_key_or_not_at_all() {
        let mut node = Node::new();
        let held = node.client(0).pair.clone();
        let (certificate, key) = node.authority.issue(&["gateway.internal"]);
        node.folder.file("own.pem", &certificate, 0o644);
        assert_eq!(
            node.look(),
            ["users own.pem kept"],
            "said once, though two have it"
        );
        assert_eq!(node.look(), Vec::<String>::new(), "and not again");
        assert_eq!(node.client(0).pair, held);
        node.folder.file("own.key", &key, 0o600);
        assert_eq!(node.look(), ["users own.pem renewed", "orders own.pem renewed"]);
        assert_ne!(node.client(0).pair, held);
        assert_eq!(node.client(0).pair, node.client(1).pair);
        assert_eq!(node.client(0).name.as_ref().unwrap().to_str(), "users");
        let compiled = crate::config::compile(&node.settings, &Default::default(), &Default::default(), 2);
        let upstream = compiled.listeners[0].routes[0].action.upstreams()[0].clone();
        assert_eq!(
            upstream.tls.as_ref().unwrap().settings(),
            node.client(0),
            "routes have it"
        );
    }

    #[test]
    fn a_certificate_whose_time_is_over_is_not_taken() {
        let mut node = Node::new();
        let (day, now) = (Duration::from_secs(86_400), SystemTime::now());
        let old = node
            .authority
            .issue_for(&["gateway.internal"], now - 9 * day, now - 2 * day);
        node.folder.pair("own", &old);
        let held = node.client(0).pair.clone();
        assert_eq!(node.look(), ["users own.pem kept"]);
        assert_eq!(node.client(0).pair, held);
        let told = node.events.kept();
        assert!(
            told[0].why.contains("own.pem expired 2days ago"),
            "{}",
            told[0].why
        );
    }

    #[test]
    fn a_certificate_that_is_awaited_is_taken_when_it_comes_and_nothing_is_said_before() {
        let own = "{ cert_file = 'web.pem', key_file = 'web.key' }";
        let had = "{ cert_file = 'had.pem', key_file = 'had.key', acme_names = ['a.example'] }";
        let acme = "
            [[listener]]
            name = 'plain'
            address = '127.0.0.1:8080'
            [acme]
            terms_of_service_agreed = true
            ca_file = 'services.pem'
        ";
        let text = TEXT.replacen(own, had, 1) + acme;
        let mut node = Node::of(&text);
        let held = |node: &Node| node.settings.listeners[0].tls.clone().unwrap().server.pairs;
        assert_eq!(node.look(), Vec::<String>::new());
        let (certificate, key) = node.authority.issue(&["a.example"]);
        node.folder.file("had.key", &key, 0o600);
        assert_eq!(node.look(), Vec::<String>::new(), "half of it");
        assert!(held(&node)[0].pair().is_none());
        let file = node.folder.file("had.pem", &certificate, 0o644);
        assert_eq!(node.look(), ["web had.pem renewed"]);
        assert_eq!(held(&node)[0].names(), ["a.example"]);
        assert!(held(&node)[0].pair().is_some());
        std::fs::remove_file(file).unwrap();
        assert_eq!(node.look(), ["web had.pem kept"], "what was there once is missed");
        assert!(held(&node)[0].pair().is_some());
    }

    #[test]
    fn authorities_are_taken_where_all_of_the_file_can_be_read() {
        let mut node = Node::new();
        let both = node.authority.pem() + &Authority::new("next").pem();
        let cut = both.trim_end().strip_suffix("-----END CERTIFICATE-----").unwrap();
        for (file, whose) in [
            ("services.pem", vec!["users", "orders"]),
            ("clients.pem", vec!["web"]),
        ] {
            node.folder.file(file, cut, 0o644);
            assert_eq!(node.look(), [format!("{} {file} kept", whose[0])]);
            node.folder.file(file, &both, 0o644);
            let wanted: Vec<String> = whose
                .iter()
                .map(|whose| format!("{whose} {file} renewed"))
                .collect();
            assert_eq!(node.look(), wanted);
        }
        assert_eq!(node.client(1).roots.certificates.len(), 2);
        let server = &node.settings.listeners[0].tls.as_ref().unwrap().server;
        assert_eq!(server.client_roots.as_ref().unwrap().certificates.len(), 2);
    }

    #[test]
    fn secrets_of_filters_are_taken_where_the_whole_file_is_good() {
        let mut node = Node::new();
        let key = |digit: &str| format!("shop:{}\n", digit.repeat(64));
        let one_key = KEYS.replacen("\"kid\": \"ec\"", "\"kid\": \"next\"", 1);
        assert_ne!(one_key, KEYS);
        let rows = [
            (
                "staff",
                "ann:secret\n".to_owned(),
                format!("ann:{BCRYPT}\nbob:{ARGON2}\n"),
                0o600,
            ),
            ("partners", "shop:zz\n".to_owned(), key("1"), 0o600),
            ("keys.json", "{}".to_owned(), one_key, 0o644),
        ];
        for (index, (file, bad, good, mode)) in rows.into_iter().enumerate() {
            let held = node.settings.clone();
            node.folder.file(file, &bad, mode);
            assert_eq!(node.look(), [format!("all {file} kept")]);
            assert_eq!(node.settings, held);
            let told = node.events.kept();
            assert!(
                !told.iter().any(|event| event.why.contains("secret\n")),
                "{told:?}"
            );
            node.folder.file(file, &good, mode);
            assert_eq!(node.look(), [format!("all {file} renewed")]);
            assert_ne!(
                node.settings.routes[0].filters[index],
                held.routes[0].filters[index]
            );
            assert_eq!(node.settings.routes[0], node.settings.listeners[0].routes[0]);
            assert_eq!(node.look(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_broken_file_holds_up_no_other() {
        let mut node = Node::new();
        node.folder.file("services.pem", "nothing", 0o644);
        node.folder
            .pair("own", &node.authority.issue(&["gateway.internal"]));
        node.folder.pair("web", &node.authority.issue(&["a.example"]));
        let told = node.look();
        let wanted = [
            "web web.pem renewed",
            "users services.pem kept",
            "users own.pem renewed",
            "orders own.pem renewed",
        ];
        assert_eq!(told, wanted);
    }
}
