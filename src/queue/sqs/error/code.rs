//! The codes of SQS's errors, and what each means.

/// The meaning of a code.
pub(super) enum CodeClass {
    Transient,
    Missing,
    TooLarge,
    Content,
    Signature,
    /// A refusal, with advice on what to do about it.
    Refused(&'static str),
    Unknown,
}

/// Returns the code without the name spaces that some protocols put before it.
pub(super) fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or_default();
    code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code)
}

/// Returns what a code means.
pub(super) fn class_of(code: &str) -> CodeClass {
    match bare(code) {
        "NonExistentQueue" | "QueueDoesNotExist" => CodeClass::Missing,
        "BatchRequestTooLong" => CodeClass::TooLarge,
        "InvalidMessageContents" => CodeClass::Content,
        "OverLimit"
        | "RequestThrottled"
        | "KmsThrottled"
        | "KMS.ThrottlingException"
        | "ServiceUnavailable"
        | "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException"
        | "QueueDeletedRecently" => CodeClass::Transient,
        code if code.starts_with("Throttl") => CodeClass::Transient,
        "SignatureDoesNotMatch" | "InvalidSignatureException" | "RequestExpired" | "RequestTimeTooSkewed" => CodeClass::Signature,
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
            CodeClass::Refused("; the access key is not known there: check the keys, their session token and the region")
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            CodeClass::Refused("; the session token has expired: renew the keys at their source")
        }
        "MissingAuthenticationToken" | "IncompleteSignature" => {
            CodeClass::Refused("; something between us and SQS removes the signature from our requests")
        }
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "AuthFailure" => {
            CodeClass::Refused("; allow the action in the role's policy, and check the queue's own")
        }
        "OptInRequired" => CodeClass::Refused("; the AWS account is not signed up for SQS in that region"),
        "InvalidAddress" => CodeClass::Refused("; the queue's URL is not of this region or endpoint"),
        "InvalidSecurity" => CodeClass::Refused("; write https:// in endpoint"),
        "KmsAccessDenied" | "KMS.AccessDeniedException" => {
            CodeClass::Refused("; allow kms:Decrypt and kms:GenerateDataKey on the queue's key")
        }
        code if code.starts_with("Kms") || code.starts_with("KMS.") => CodeClass::Refused("; check the queue's key in KMS"),
        _ => CodeClass::Unknown,
    }
}
