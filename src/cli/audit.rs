//! `audit`: who did what, when and why, and what the system found.

use super::args::AuditArgs;
use super::client::{Client, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean_line, table};
use crate::bus::FactView;
use crate::bus::view::Page;

/// Facts that one request lists.
const PAGE: usize = 500;

/// Runs the command.
pub(super) fn audit(args: &AuditArgs, output: Output) -> Result<Exit, Failure> {
    let page = collect(&Client::new(&args.server)?, args)?;
    if output.is_json {
        output.document(&page);
        return Ok(Exit::Done);
    }
    if page.items.is_empty() {
        output.text("no facts");
        return Ok(Exit::Done);
    }
    output.text(&told(&page.items));
    if page.next.is_some() {
        let more = format!("there may be more; --limit is {}", args.limit);
        output.text(&output.paint.tint(Tone::Faint, &more));
    }
    Ok(Exit::Done)
}

/// The first `limit` facts that the filters leave, the newest first.
fn collect(client: &Client, args: &AuditArgs) -> Result<Page<FactView>, Failure> {
    let mut all = Page { items: Vec::new(), next: None };
    loop {
        let wanted = args.limit.saturating_sub(all.items.len()).min(PAGE);
        if wanted == 0 {
            return Ok(all);
        }
        let path = path(args, wanted, all.next.as_deref());
        let page: Page<FactView> = client.get(&path, None)?.parse()?;
        // A page may be empty and still not be the last: only the cursor says so.
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn path(args: &AuditArgs, limit: usize, cursor: Option<&str>) -> String {
    let given = [
        ("name", args.name.as_deref()),
        ("since", args.since.as_deref()),
        ("until", args.until.as_deref()),
        ("about", args.about.as_deref()),
        ("by", args.who.as_deref()),
        ("cursor", cursor),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded(value?))));
    given.fold(format!("/v1/audit?limit={limit}"), |path, part| path + &part)
}

fn told(facts: &[FactView]) -> String {
    let head = ["TIME", "FACT", "ABOUT", "BY", "REASON"];
    let row = |fact: &FactView| {
        let about = fact.about.as_deref().unwrap_or("-");
        let by = if fact.by.is_empty() { "-" } else { &fact.by };
        [fact.time.as_str(), &fact.name, about, by, &fact.reason].map(clean_line).to_vec()
    };
    table(&head, &facts.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ServerArgs;
    use crate::cli::fake;

    #[test]
    fn pages_are_read_up_to_the_limit_and_shown_in_columns() {
        let url = fake::serve(|request| {
            let (items, next) = match request.path.as_str() {
                "/v1/audit?limit=3&by=ann%20b" => (vec![], Some("9")),
                path => {
                    assert_eq!(path, "/v1/audit?limit=3&by=ann%20b&cursor=9");
                    let fact = serde_json::json!({
                        "id": "f1", "name": "tidegate.key.parked", "time": "2026-01-01T00:00:00Z", "about": "pay-1",
                        "by": "", "reason": "", "causation": null, "data": {},
                    });
                    (vec![fact], None)
                }
            };
            fake::json(200, &serde_json::json!({ "items": items, "next": next }))
        });
        let server = ServerArgs { url: url.clone(), by: None };
        let args = AuditArgs {
            name: None,
            since: None,
            until: None,
            about: None,
            who: Some("ann b".to_owned()),
            limit: 3,
            server,
        };

        let page = collect(&fake::client(&url), &args).unwrap();

        assert_eq!(
            told(&page.items),
            "TIME                  FACT                 ABOUT  BY  REASON\n\
             2026-01-01T00:00:00Z  tidegate.key.parked  pay-1  -"
        );
    }
}
