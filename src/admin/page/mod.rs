//! The dashboard: one page, whose files are built into the program and served as they are.

/// To be sent with each answer. No inline script, no `style` attribute in markup, nothing from elsewhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Absolute, as it is asked for.
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: &'static str,
}

/// All files of the page, the page itself first.
pub const FILES: [File; 3] = [
    File { path: "/", content_type: "text/html; charset=utf-8", body: include_str!("index.html") },
    File { path: "/dashboard.css", content_type: "text/css; charset=utf-8", body: include_str!("dashboard.css") },
    File { path: "/dashboard.js", content_type: "text/javascript; charset=utf-8", body: include_str!("dashboard.js") },
];

/// The file at this path of a URL; a query is not part of it.
pub fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}
