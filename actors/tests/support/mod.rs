//! Support for tests of the real binary: start it on a folder of its own, ask it over HTTP, kill it.
//!
//! Each test file uses its part of this, so nothing here is wanted by all of them.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test's support fails by panicking, and no test file uses all of it"
)]

mod http;
mod process;
mod random;
mod wait;

pub(crate) use http::{Client, Message, Reply, Request, Stream};
pub(crate) use process::{Finished, Server, Site, finish, tidegate};
pub(crate) use random::Dice;
pub(crate) use wait::{PATIENCE, Watch, until};

use serde_json::{Value, json};

/// Opens these accounts with `balance` each, and this fund; returns when all of it is done.
pub(crate) fn open(server: &Server, accounts: &[&str], balance: u64, funds: &[&str]) {
    for account in accounts {
        let reply = server.done("account.opened", &json!({"account": account, "balance": balance}));
        assert_eq!(reply["status"], "done", "{reply}");
    }
    for fund in funds {
        let reply = server.done("fund.opened", &json!({ "fund": fund }));
        assert_eq!(reply["status"], "done", "{reply}");
    }
}

/// The data of a purchase.
pub(crate) fn purchase(order: &str, account: &str, amount: u64) -> Value {
    json!({"order": order, "account": account, "fund": "world", "amount": amount})
}

impl Server {
    /// Publishes and waits for the flow's end; gives the status body.
    pub(crate) fn done(&self, name: &str, data: &Value) -> Value {
        let reply = self.plain(name, data).header("prefer", "wait=20").send();
        assert_eq!(reply.status, 200, "{name} {data}: {reply:?}");
        reply.json()
    }

    /// A publication of plain JSON.
    pub(crate) fn plain(&self, name: &str, data: &Value) -> Request<'_> {
        self.client().post(&format!("/v1/events/{name}")).json(data)
    }

    /// A publication of plain JSON with an id.
    pub(crate) fn with_id(&self, name: &str, id: &str, data: &Value) -> Request<'_> {
        self.plain(name, data).header("idempotency-key", &format!("\"{id}\""))
    }

    /// Publishes a purchase whose id is the order; gives the receipt.
    pub(crate) fn buy(&self, order: &str, account: &str, amount: u64) -> Value {
        let reply = self.with_id("purchase.submitted", order, &purchase(order, account, amount)).send();
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()
    }

    /// The status of an event of `/http`.
    pub(crate) fn status(&self, id: &str) -> Value {
        self.client().get_json(&format!("/v1/events/{id}"))
    }

    /// Waits until the status says so.
    pub(crate) fn until_status(&self, id: &str, wanted: &str) -> Value {
        until(&format!("{id} is {wanted}"), || {
            let status = self.status(id);
            if status["status"] == wanted { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// One subscription as the list shows it.
    pub(crate) fn subscription(&self, name: &str) -> Value {
        self.client().get_json(&format!("/v1/subscriptions/{name}"))
    }

    /// All dead letters that the query leaves.
    pub(crate) fn dead_letters(&self, query: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.client().get_json(&format!("/v1/dead-letters?limit=100{query}{cursor}"));
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// What subscriptions have to do, what waits behind a dead letter included; dead letters are not.
    pub(crate) fn busy(&self) -> Vec<String> {
        let page = self.client().get_json("/v1/subscriptions");
        let items = page["items"].as_array().unwrap();
        let busy = items.iter().filter(|item| item["backlog"] != 0 || item["inflight"] != 0);
        busy.map(|item| format!("{}: {} + {}", item["name"], item["backlog"], item["inflight"])).collect()
    }

    /// Waits until no subscription has anything to do.
    pub(crate) fn until_idle(&self) {
        until("no subscription has a backlog", || {
            let busy = self.busy();
            if busy.is_empty() { Ok(()) } else { Err(busy.join(", ")) }
        });
    }

    /// The money of an account.
    pub(crate) fn funds(&self, account: &str) -> Value {
        self.client().get_json(&format!("/v1/subscriptions/check_funds/state/{account}"))
    }
}
