//! Pages without scripts or anything from elsewhere, readable on a phone, in light and dark, and by screen readers.

use http::header::HeaderValue;

/// A page may load nothing, and no site may frame it.
pub const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'");

const STYLE: &str = ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}\
main{max-width:38rem;margin:12vh auto;padding:0 1rem}h1{font-size:1.5rem;line-height:1.25}code{font-size:.9em}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.5rem}dt{opacity:.75}dd{margin:0;overflow-wrap:anywhere}\
@media(max-width:30rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}\
button,a.button{display:inline-block;font:inherit;padding:.4rem 1rem;border:1px solid currentColor;border-radius:.4rem;\
background:transparent;color:inherit;text-decoration:none;cursor:pointer}\
:focus-visible{outline:3px solid Highlight;outline-offset:2px}";

/// A whole page. `title` is text, `body` is HTML.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Text that can stand between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_s_name_cannot_become_a_tag() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
        assert!(page("<b>", "").contains("<h1>&lt;b&gt;</h1>"));
    }
}
