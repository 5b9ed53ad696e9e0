//! Sign-out: the browser's session and its key end, LiteLLM is told, the cookies go, and the browser goes on to the sign-in
//! proxy's own sign-out, since whoever is still signed in there would be straight back.

use http::header::HeaderMap;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::body::Bytes;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{LOGOUT, Pages, answer, see_other};
use crate::config::AtLogout;
use crate::face::html;
use crate::gate::Gate;
use crate::gate::refusal::{Code, Refusal};
use crate::gate::session::{Session, Shown};
use crate::http::cookies;
use crate::litellm::api;
use crate::litellm::credentials::{KeyHeaders, UI_COOKIE};
use crate::litellm::ui::Claimed;
use crate::registry::books::Tokens;
use crate::telemetry::logs::chain;
use crate::upstream::call;

// === impl Pages ===

impl Pages {
    /// The page for it. A visit that another site led to only shows a button: nobody is to be signed out by a link.
    pub(super) async fn sign_out(
        &self,
        head: &Parts,
        session: &Session,
        is_from_trusted: bool,
        gate: &Gate,
    ) -> Result<Response<Bytes>, Refusal> {
        match head.method {
            Method::POST => {}
            Method::GET if gate.origins().is_own_visit(head, is_from_trusted) => {}
            Method::GET | Method::HEAD => return Ok(self.ask()),
            _ => return Err(Code::MethodNotAllowed.into()),
        }
        self.end(head, session, gate).await?;
        let mut response = match &self.logout {
            Some(location) => see_other(location),
            None => self.signed_out(),
        };
        self.forget_cookies(response.headers_mut());
        Ok(response)
    }

    /// LiteLLM's own button, whose page goes on to the way out by itself.
    pub(super) async fn sign_out_by_button(
        &self,
        head: &Parts,
        session: &Session,
        gate: &Gate,
    ) -> Result<Response<Bytes>, Refusal> {
        self.end(head, session, gate).await?;
        let mut response = answer(StatusCode::OK, "application/json", json!({ "message": "Signed out." }).to_string());
        self.forget_cookies(response.headers_mut());
        Ok(response)
    }

    /// Ends what this browser holds of the person's sessions.
    async fn end(&self, head: &Parts, session: &Session, gate: &Gate) -> Result<(), Refusal> {
        let sessions = gate.sessions();
        let mut ids: Vec<String> = session.browser_id().map(str::to_owned).into_iter().collect();
        for claimed in cookies::values(&head.headers, UI_COOKIE).filter_map(Claimed::read) {
            if let Shown::Living(living) = sessions.shown(session, &claimed.key) {
                ids.extend(living.browser_id().map(str::to_owned));
            }
        }
        if self.api_session == AtLogout::End {
            ids.push(session.api_session_id().to_owned());
        }
        ids.sort();
        ids.dedup();
        if ids.is_empty() {
            return Ok(());
        }
        let ended = sessions.sign_out(session, ids, self.master_key.is_some()).await?;
        if self.tell(&ended).await {
            // What it leaves, the sweep takes.
            sessions.remove_ended(session, ended).await?;
        }
        Ok(())
    }

    /// Has LiteLLM forget the keys at once, where there is a master key. Without it, or where it does not answer, it may take
    /// them until its cache ends; vestibule does not.
    async fn tell(&self, keys: &Tokens) -> bool {
        let Some(master_key) = &self.master_key else { return false };
        let mut headers = HeaderMap::new();
        if let Some(key) = KeyHeaders::new(master_key.expose_secret()) {
            key.inject(&mut headers, self.key_header.as_ref(), false);
        }
        for told in api::delete_keys(&keys.0) {
            let done = match call::post(&self.litellm, told.path, headers.clone(), told.body.clone()).await {
                Ok((status, body)) => api::read(&told, status, &body),
                Err(error) => Err(chain(&error)),
            };
            if let Err(cause) = done {
                tracing::warn!(cause, "LiteLLM was not told of a sign-out: it may take the key until its cache ends");
                return false;
            }
        }
        true
    }

    fn ask(&self) -> Response<Bytes> {
        let (action, back) = (html::escape(&self.own_page(LOGOUT)), html::escape(&self.ui_path("/")));
        let body = format!(
            "<p>Another page led you here. Nothing has happened yet.</p>\n\
             <form method=\"post\" action=\"{action}\"><button>Sign out</button> <a class=\"button\" href=\"{back}\">Stay</a></form>\n"
        );
        answer(StatusCode::OK, "text/html; charset=utf-8", html::page("Sign out?", &body))
    }

    fn signed_out(&self) -> Response<Bytes> {
        let back = html::escape(&self.ui_path("/"));
        let body = format!(
            "<p>Your session in the admin UI has ended. The sign-in in front of it may still know you: close the browser, or \
             sign out there too.</p>\n<p><a class=\"button\" href=\"{back}\">Sign in again</a></p>\n"
        );
        answer(StatusCode::OK, "text/html; charset=utf-8", html::page("Signed out", &body))
    }
}
