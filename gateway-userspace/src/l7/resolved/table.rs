//! The routes of a listener as one worker sees them: each is made when the first request takes it.
//!
//! So that a snapshot costs a worker no more for 10,000 routes than for ten: of the one before it takes over all pages
//! whose routes are the same, and what it does not take over is dropped piece by piece, between requests.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::ResolvedRoute;
use crate::config::snapshot::Route;

/// Routes of one page: so many are made anew where one of them changes, by the first request for each.
const PAGE_ROUTES: usize = 64;
/// Pages that are dropped before requests get their turn: some 0.1 ms.
const PAGES_AT_ONCE: usize = 4;

/// By the router's indices.
pub(super) struct Table {
    pages: Vec<Rc<Page>>,
    attic: Rc<Attic>,
}

struct Page([OnceCell<Rc<ResolvedRoute>>; PAGE_ROUTES]);

impl Table {
    /// For those routes. `held` is what was made of others, in the same way.
    pub(super) fn new(
        routes: &[Arc<Route>],
        held: Option<(&[Arc<Route>], &Self)>,
        attic: &Rc<Attic>,
    ) -> Self {
        let held = held.map(|(others, held)| others.chunks(PAGE_ROUTES).zip(&held.pages));
        let mut held = held.into_iter().flatten();
        let pages = routes.chunks(PAGE_ROUTES).map(|routes| match held.next() {
            Some((others, page)) if is_same(routes, others) => Rc::clone(page),
            _ => Rc::new(Page(std::array::from_fn(|_| OnceCell::new()))),
        });
        Self {
            pages: pages.collect(),
            attic: Rc::clone(attic),
        }
    }

    /// The route at that index, made by `make` where nobody asked for it yet; `None`: there is none.
    pub(super) fn get(
        &self,
        index: usize,
        make: impl FnOnce() -> Option<Rc<ResolvedRoute>>,
    ) -> Option<&Rc<ResolvedRoute>> {
        let cell = self.pages.get(index / PAGE_ROUTES)?.0.get(index % PAGE_ROUTES)?;
        match cell.get() {
            Some(route) => Some(route),
            None => {
                let made = make()?;
                Some(cell.get_or_init(|| made))
            }
        }
    }
}

fn is_same(one: &[Arc<Route>], other: &[Arc<Route>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

impl Drop for Table {
    fn drop(&mut self) {
        self.attic.pages.borrow_mut().append(&mut self.pages);
        self.attic.filled.notify_one();
    }
}

/// What a worker has no use for any more, until it finds the time to drop it.
#[derive(Default)]
pub(in crate::l7) struct Attic {
    pages: RefCell<Vec<Rc<Page>>>,
    filled: Notify,
}

impl Attic {
    /// Clears it whenever something is put there.
    pub(in crate::l7) async fn clear(&self) {
        loop {
            self.filled.notified().await;
            while self.drop_some() {
                yield_now().await;
            }
        }
    }

    /// Whether there is more.
    fn drop_some(&self) -> bool {
        let mut pages = self.pages.borrow_mut();
        let rest = pages.len().saturating_sub(PAGES_AT_ONCE);
        let some = pages.split_off(rest);
        drop(pages);
        drop(some);
        rest > 0
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::config::snapshot::{Respond, RouteAction};
    use crate::l7::metrics::Metrics;
    use crate::l7::resolved::route::RouteOf;

    fn route(name: String) -> Arc<Route> {
        let empty = Respond {
            status: StatusCode::OK,
            body: Vec::new(),
            content_type: HeaderValue::from_static("text/plain"),
            retry_after: None,
        };
        Arc::new(Route::plain(name, RouteAction::Respond(Arc::new(empty))))
    }

    #[test]
    fn a_table_takes_over_the_pages_of_routes_that_stay_and_drops_the_others_in_pieces() {
        let attic = Rc::<Attic>::default();
        let metrics = Metrics::default();
        let mut routes: Vec<_> = (0..PAGE_ROUTES * 10 + 1)
            .map(|number| route(number.to_string()))
            .collect();
        let make = |routes: &[Arc<Route>], index: usize| {
            let by = RouteOf {
                listener: ("web", &[]),
                worker: 0,
                metrics: &metrics,
            };
            let route = routes.get(index)?;
            Some(Rc::new(ResolvedRoute::new(route, &Default::default(), by)))
        };
        let table = Table::new(&routes, None, &attic);
        for index in 0..routes.len() {
            let name = table
                .get(index, || make(&routes, index))
                .unwrap()
                .name()
                .to_owned();
            assert_eq!(name, index.to_string());
        }
        assert!(table.get(routes.len(), || make(&routes, routes.len())).is_none());
        let before = routes.clone();
        routes[PAGE_ROUTES * 3] = route("new".to_owned());
        routes.push(route("last".to_owned()));
        let next = Table::new(&routes, Some((&before, &table)), &attic);
        for (page, (old, new)) in table.pages.iter().zip(&next.pages).enumerate() {
            assert_eq!(Rc::ptr_eq(old, new), page != 3 && page != 10, "{page}");
        }
        let changed = next
            .get(PAGE_ROUTES * 3, || make(&routes, PAGE_ROUTES * 3))
            .unwrap();
        assert_eq!(changed.name(), "new");
        let kept = Rc::downgrade(&table.pages[0]);
        drop(table);
        assert_eq!(attic.pages.borrow().len(), 11);
        let mut pieces = 1;
        while attic.drop_some() {
            pieces += 1;
        }
        assert_eq!(pieces, 11_usize.div_ceil(PAGES_AT_ONCE));
        assert!(kept.upgrade().is_some(), "the new table has it");
        drop(next);
        while attic.drop_some() {}
        assert!(kept.upgrade().is_none());
    }
}
