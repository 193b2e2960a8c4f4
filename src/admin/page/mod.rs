//! The dashboard: one page, whose files are built into the program and served unchanged.
//!
//! The page gets all its data from `/api/*` and computes rates from differences. Accounts, reasons and errors
//! are text from outside: the scripts set them as text, never as markup, and the policy below stops any
//! markup that gets through.

/// The policy sent with each file. It allows no inline script and no `style` attribute in markup; scripts set styles
/// through the object model.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// The absolute path under which the file is requested.
    pub path: &'static str,
    /// The value of the `content-type` header.
    pub content_type: &'static str,
    /// The content of the file.
    pub body: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All files of the page, the page itself first.
pub const FILES: [File; 13] = [
    File { path: "/", content_type: "text/html; charset=utf-8", body: include_str!("index.html") },
    File { path: "/dashboard.css", content_type: "text/css; charset=utf-8", body: include_str!("dashboard.css") },
    File { path: "/octopus.svg", content_type: "image/svg+xml", body: include_str!("octopus.svg") },
    File { path: "/dashboard.js", content_type: SCRIPT, body: include_str!("dashboard.js") },
    File { path: "/api.js", content_type: SCRIPT, body: include_str!("api.js") },
    File { path: "/dom.js", content_type: SCRIPT, body: include_str!("dom.js") },
    File { path: "/octopus.js", content_type: SCRIPT, body: include_str!("octopus.js") },
    File { path: "/partner.js", content_type: SCRIPT, body: include_str!("partner.js") },
    File { path: "/rates.js", content_type: SCRIPT, body: include_str!("rates.js") },
    File { path: "/search.js", content_type: SCRIPT, body: include_str!("search.js") },
    File { path: "/shapes.js", content_type: SCRIPT, body: include_str!("shapes.js") },
    File { path: "/tables.js", content_type: SCRIPT, body: include_str!("tables.js") },
    File { path: "/words.js", content_type: SCRIPT, body: include_str!("words.js") },
];

/// Returns the file at this URL path, given without a query, or `None` if there is none.
pub fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts() -> impl Iterator<Item = &'static File> {
        FILES.iter().filter(|file| file.content_type == SCRIPT)
    }

    #[test]
    fn scripts_set_text_and_never_markup() {
        let markup = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "createContextualFragment",
            "DOMParser",
            "eval(",
            "new Function",
        ];
        for file in scripts() {
            let found: Vec<_> = markup.iter().filter(|way| file.body.contains(**way)).collect();
            assert!(found.is_empty(), "{} uses {found:?}", file.path);
        }
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        let page = FILES[0].body;
        for forbidden in ["<style", " style=", " onclick=", " onload=", "<script>", "data:"] {
            assert!(!page.contains(forbidden), "index.html holds {forbidden}");
        }
    }

    #[test]
    fn all_that_the_page_loads_is_served_from_here() {
        let mut loads = Vec::new();
        for file in &FILES {
            for before in ["src=\"", "href=\"/", "from \"", " url(", "`url("] {
                let rests = file.body.split(before).skip(1);
                let names = rests.filter_map(|rest| rest.split(['"', ')']).next());
                loads.extend(
                    names.map(|name| (file.path, if before.ends_with('/') { format!("/{name}") } else { name.to_owned() })),
                );
            }
        }
        assert!(loads.iter().any(|(from, name)| *from == "/dashboard.js" && name == "/api.js"), "{loads:?}");
        for (from, name) in loads {
            // `url(#…)` points into the picture itself.
            assert!(name.starts_with('#') || super::file(&name).is_some(), "{from} loads {name}");
        }
        for file in FILES {
            let outside = file.body.replace("http://www.w3.org/", "");
            assert!(!outside.contains("http://") && !outside.contains("https://"), "{} names an outside address", file.path);
        }
    }
}
