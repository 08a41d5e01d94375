//! The standards' error conditions, so that a misspelt one does not compile.

use serde::{Deserialize, Serialize};

macro_rules! conditions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $element:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every condition, in the order of the standard.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The condition's element name.
            pub const fn element(self) -> &'static str {
                match self { $($name::$variant => $element),+ }
            }

            /// The condition with this element name.
            pub fn from_element(name: &str) -> Option<Self> {
                match name { $($element => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.element())
            }
        }
    };
}

conditions! {
    /// Stream errors (RFC 6120 §4.9.3). The stream ends.
    StreamCondition {
        BadFormat = "bad-format",
        BadNamespacePrefix = "bad-namespace-prefix",
        Conflict = "conflict",
        ConnectionTimeout = "connection-timeout",
        HostGone = "host-gone",
        HostUnknown = "host-unknown",
        ImproperAddressing = "improper-addressing",
        InternalServerError = "internal-server-error",
        InvalidFrom = "invalid-from",
        InvalidNamespace = "invalid-namespace",
        InvalidXml = "invalid-xml",
        NotAuthorized = "not-authorized",
        NotWellFormed = "not-well-formed",
        PolicyViolation = "policy-violation",
        RemoteConnectionFailed = "remote-connection-failed",
        Reset = "reset",
        ResourceConstraint = "resource-constraint",
        RestrictedXml = "restricted-xml",
        SeeOtherHost = "see-other-host",
        SystemShutdown = "system-shutdown",
        UndefinedCondition = "undefined-condition",
        UnsupportedEncoding = "unsupported-encoding",
        UnsupportedFeature = "unsupported-feature",
        UnsupportedStanzaType = "unsupported-stanza-type",
        UnsupportedVersion = "unsupported-version",
    }
}

conditions! {
    /// Stanza errors (RFC 6120 §8.3.3). The sender is told; the stream lives.
    StanzaCondition {
        BadRequest = "bad-request",
        Conflict = "conflict",
        FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden",
        Gone = "gone",
        InternalServerError = "internal-server-error",
        ItemNotFound = "item-not-found",
        JidMalformed = "jid-malformed",
        NotAcceptable = "not-acceptable",
        NotAllowed = "not-allowed",
        NotAuthorized = "not-authorized",
        PolicyViolation = "policy-violation",
        RecipientUnavailable = "recipient-unavailable",
        Redirect = "redirect",
        RegistrationRequired = "registration-required",
        RemoteServerNotFound = "remote-server-not-found",
        RemoteServerTimeout = "remote-server-timeout",
        ResourceConstraint = "resource-constraint",
        ServiceUnavailable = "service-unavailable",
        SubscriptionRequired = "subscription-required",
        UndefinedCondition = "undefined-condition",
        UnexpectedRequest = "unexpected-request",
    }
}

conditions! {
    /// SASL failures (RFC 6120 §6.5). The client may try again, a few times.
    SaslCondition {
        Aborted = "aborted",
        AccountDisabled = "account-disabled",
        CredentialsExpired = "credentials-expired",
        EncryptionRequired = "encryption-required",
        IncorrectEncoding = "incorrect-encoding",
        InvalidAuthzid = "invalid-authzid",
        InvalidMechanism = "invalid-mechanism",
        MalformedRequest = "malformed-request",
        MechanismTooWeak = "mechanism-too-weak",
        NotAuthorized = "not-authorized",
        TemporaryAuthFailure = "temporary-auth-failure",
    }
}

/// What the sender may do about a stanza error (RFC 6120 §8.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ErrorType {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
}

impl ErrorType {
    /// Value of the `type` attribute of `<error/>`.
    pub const fn attribute(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Continue => "continue",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }
}

impl StanzaCondition {
    /// The error type that RFC 6120 §8.3.3 recommends for the condition.
    pub const fn error_type(self) -> ErrorType {
        use StanzaCondition as C;
        match self {
            C::BadRequest | C::JidMalformed | C::NotAcceptable | C::PolicyViolation | C::Redirect => ErrorType::Modify,
            C::Forbidden | C::NotAuthorized | C::RegistrationRequired | C::SubscriptionRequired => ErrorType::Auth,
            C::RecipientUnavailable | C::RemoteServerTimeout | C::ResourceConstraint | C::UnexpectedRequest => {
                ErrorType::Wait
            }
            C::Conflict
            | C::FeatureNotImplemented
            | C::Gone
            | C::InternalServerError
            | C::ItemNotFound
            | C::NotAllowed
            | C::RemoteServerNotFound
            | C::ServiceUnavailable
            | C::UndefinedCondition => ErrorType::Cancel,
        }
    }
}
