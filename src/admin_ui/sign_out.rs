//! Sign-out: the browser's session and its key end, LiteLLM is told, the cookies go, and the browser goes on to the OAuth
//! proxy's own sign-out, since a user who is still signed in there would be straight back.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;

use super::{AdminUi, html, json_answer, page, see_other};
use crate::config::AtLogout;
use crate::http::cookies;
use crate::litellm::api;
use crate::litellm::client::Untold;
use crate::litellm::credentials::UI_COOKIE;
use crate::litellm::ui::Claimed;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, OwnPage, RequestInfo};
use crate::session::{Session, Shown};

// === impl AdminUi ===

impl AdminUi {
    /// The page for it. A visit that another site led to only shows a button: a link alone must not sign a user out.
    pub(super) async fn sign_out(
        &self,
        info: &RequestInfo<'_>,
        session: &Session,
        is_trusted: bool,
    ) -> Result<Response<Bytes>, Refusal> {
        match *info.method() {
            Method::POST => {}
            Method::GET if info.is_navigation() && self.cross_site.is_own_visit(info, is_trusted) => {}
            Method::GET | Method::HEAD => return Ok(self.ask()),
            _ => return Err(Code::MethodNotAllowed.into()),
        }
        self.end(info, session).await?;
        let mut response = match &self.config.logout.location {
            Some(location) => see_other(location),
            None => self.signed_out(),
        };
        self.forget_cookies(response.headers_mut());
        Ok(response)
    }

    /// LiteLLM's own button, whose page goes on to the way out by itself.
    pub(super) async fn sign_out_by_button(
        &self,
        info: &RequestInfo<'_>,
        session: &Session,
    ) -> Result<Response<Bytes>, Refusal> {
        self.end(info, session).await?;
        let mut response = json_answer(&json!({ "message": "Signed out." }));
        self.forget_cookies(response.headers_mut());
        Ok(response)
    }

    /// Ends what this browser holds of the user's sessions. Once begun it is done to the end, whether or not the client
    /// waits for it.
    async fn end(&self, info: &RequestInfo<'_>, session: &Session) -> Result<(), Refusal> {
        let sessions = &self.sessions;
        let (mut leaving, mut ids) = (vec![session.clone()], Vec::new());
        for claimed in cookies::values(info.all(Known::Cookie), UI_COOKIE).filter_map(Claimed::read) {
            match sessions.shown(session, &claimed.key) {
                Shown::Living(living) => leaving.push(living),
                // Not known here: made, or ended, at another replica.
                Shown::Over(id) => ids.push(id),
                Shown::Foreign => {}
            }
        }
        if self.config.logout.api_session == AtLogout::End {
            ids.push(session.api_session_id().to_owned());
        }
        ids.extend(leaving.iter().filter_map(|session| session.browser_id().map(str::to_owned)));
        if ids.is_empty() {
            return Ok(());
        }
        let (sessions, session, litellm) = (sessions.clone(), session.clone(), self.litellm.clone());
        let tells = litellm.master_key().is_some();
        let work = async move {
            let mut ended = sessions.sign_out(&session, ids, tells).await?;
            if !tells {
                return Ok(());
            }
            // An earlier try may have ended a session and been cut off before LiteLLM was told.
            ended.0.extend(leaving.iter().filter_map(Session::browser_token));
            ended.0.sort();
            ended.0.dedup();
            // Where LiteLLM does not answer, it may take them until its cache ends; vestibule does not.
            if let Err(Untold { cause, .. }) = litellm.tell(&api::delete_keys(&ended.0)).await {
                tracing::warn!(cause, "LiteLLM was not told of a sign-out: it may take the key until its cache ends");
            } else if let Err(refusal) = sessions.remove_ended(&session, ended).await {
                let code = refusal.code().as_str();
                tracing::debug!(code, "what is left of ended sessions goes with the next sweep");
            }
            Ok(())
        };
        tokio::spawn(work).await.unwrap_or_else(|error| Err(Refusal::from(Code::StoreUnavailable).because(error)))
    }

    fn ask(&self) -> Response<Bytes> {
        let (action, back) = (html::escape(&self.own_page(OwnPage::SignOut)), html::escape(&self.ui_path("/")));
        let body = format!(
            "<p>Another page led you here. Nothing has happened yet.</p>\n\
             <form method=\"post\" action=\"{action}\"><button>Sign out</button> <a class=\"button\" href=\"{back}\">Stay</a></form>\n"
        );
        page("Sign out?", &body)
    }

    fn signed_out(&self) -> Response<Bytes> {
        let back = html::escape(&self.ui_path("/"));
        let body = format!(
            "<p>Your session in the admin UI has ended. The sign-in in front of it may still know you: close the browser, or \
             sign out there too.</p>\n<p><a class=\"button\" href=\"{back}\">Sign in again</a></p>\n"
        );
        page("Signed out", &body)
    }
}
