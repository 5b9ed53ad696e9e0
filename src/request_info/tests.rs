use http::header;
use proptest::prelude::*;

use super::*;

fn read<T>(lines: &[(&'static str, &str)], ask: impl FnOnce(&RequestInfo<'_>) -> T) -> T {
    let rules = testing::rules(None);
    let parts = testing::parts("/v1/models?a=b", lines);
    ask(&RequestInfo::read(&parts, false, &rules))
}

fn code(lines: &[(&'static str, &str)]) -> Option<Code> {
    read(lines, |info| info.check().err().map(|refusal| refusal.code()))
}

const HOST: (&str, &str) = ("host", "a");

#[test]
fn values_are_found_once_or_known_to_be_repeated() {
    let lines = [HOST, ("via", "1.1 a"), ("origin", ""), ("via", "1.1 b"), ("accept", "text/html")];
    read(&lines, |info| {
        assert_eq!(info.one(Known::Host), Ok(Some(&HeaderValue::from_static("a"))));
        assert_eq!(
            (info.one(Known::Via), info.one(Known::Origin), info.one(Known::Te)),
            (Err(Repeated), Ok(None), Ok(None))
        );
        assert!(info.has(Known::Origin) && !info.has(Known::Te));
        assert_eq!(info.all(Known::Via).collect::<Vec<_>>(), ["1.1 a", "1.1 b"]);
        assert_eq!(info.all(Known::Te).count(), 0);
        assert!(info.wants_html());
    });
}

#[test]
fn twins_of_deciding_names_are_refused_and_others_do_not_pass() {
    for name in ["x_forwarded-user", "x-forwarded_user", "x_api_key", "AUTHORIZATION_"] {
        let expected = (name != "AUTHORIZATION_").then_some(Code::AliasedHeader);
        let name: &'static str = if name == "AUTHORIZATION_" { "authorization_" } else { name };
        assert_eq!(code(&[HOST, (name, "x")]), expected, "{name}");
    }
    let lines = [HOST, ("x_forwarded_for", "1"), ("x_other", "2"), ("x_litellm_user_id", "3"), ("content_length", "3")];
    assert_eq!(code(&lines), None);
    let left = read(&lines, |info| info.passing().map(|(name, ..)| name.to_string()).collect::<Vec<_>>());
    assert_eq!(left, ["host", "x_other"]);
}

#[test]
fn what_connection_nominates_does_not_pass_and_must_not_decide() {
    let lines = [HOST, ("connection", "close, x-custom"), ("x-custom", "1"), ("accept", "2")];
    let left = read(&lines, |info| info.passing().map(|(name, ..)| name.to_string()).collect::<Vec<_>>());
    assert_eq!(left, ["host", "accept"]);
    for value in ["x-forwarded-user", "host", "not a token"] {
        assert_eq!(code(&[HOST, ("connection", value)]), Some(Code::NominatedHeader), "{value}");
    }
}

#[test]
fn a_request_that_comes_round_is_a_loop() {
    assert_eq!(code(&[HOST, ("via", "1.1 nginx"), ("via", "1.1 vestibule")]), Some(Code::LoopDetected));
}

#[test]
fn a_described_request_has_the_host_and_the_target_that_the_gateway_says() {
    let rules = testing::rules(None);
    let lines = [HOST, ("x-original-host", "llm.example.com"), ("x-original-uri", "/x"), ("x-forwarded-host", "evil")];
    let parts = testing::parts("/vestibule/auth/nginx", &lines);
    let (method, uri) = (Method::DELETE, Uri::from_static("/v1/files/1?a"));
    let names = [Known::OriginalHost, Known::OriginalUri, Known::OriginalMethod];
    let info = RequestInfo::read(&parts, false, &rules).described(&method, &uri, &names);
    assert_eq!((info.host(), info.target(), info.method()), (Some("llm.example.com"), "/v1/files/1?a", &method));
    assert!(!info.has(Known::ForwardedHost) && !info.has(Known::OriginalUri));
    assert_eq!(info.route(), Route::Inference);
}

#[test]
fn a_message_keeps_what_frames_it() {
    assert_eq!(code(&[HOST, ("content-length", "5"), ("content_length", "3")]), None);
    let lines = [("content-length", "5"), ("content_length", "3")];
    let left = read(&lines, |info| info.passing().map(|(name, ..)| name.clone()).collect::<Vec<_>>());
    assert_eq!(left, [header::CONTENT_LENGTH]);
}

proptest! {
    #[test]
    fn what_passes_is_owned_in_no_spelling(
        names in prop::collection::vec("[a-z_-]{1,20}", 0..12),
        pick in 0usize..5,
        dashes in prop::collection::vec(any::<bool>(), 4),
    ) {
        let base = ["x-forwarded-user", "authorization", "x-litellm-user-id", "x-forwarded-for", "connection"][pick];
        let mut flags = dashes.into_iter().cycle();
        let twin: String = base.chars().map(|c| if c == '-' && flags.next().unwrap() { '_' } else { c }).collect();
        let mut parts = testing::parts("/", &[]);
        for name in names.iter().map(String::as_str).chain([twin.as_str()]) {
            parts.headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        let rules = testing::rules(None);
        for (name, ..) in RequestInfo::read(&parts, false, &rules).passing() {
            prop_assert!(rules.headers().owner(name).is_none());
        }
    }
}
