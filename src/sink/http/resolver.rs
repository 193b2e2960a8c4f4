//! The resolver of one agent: names are looked up within the deadline of the delivery, and private addresses are left
//! out if the account chose the host.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::wire::Dialer;
use super::{attempt, guard};
use crate::net::names::{LookUpError, Names, addresses};

/// A resolver for `ureq`. See the [module documentation](self).
pub struct DeliveryResolver {
    /// The names, shared by all agents.
    pub names: Arc<Names>,
    /// Knows which addresses could not be connected to.
    pub dialer: Dialer,
    /// Whether only addresses of the public Internet may be returned.
    pub guarded: bool,
}

/// The error for a host that is, or leads to, an address that only this machine or its network can reach.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{address} is not an address of the public Internet, and the account chose the host; set allow_private_addresses if that is meant"
)]
pub struct PrivateAddress {
    /// The address that was rejected.
    pub address: IpAddr,
    /// Whether the host in the URL is itself the address, rather than a name.
    pub literal: bool,
}

impl Resolver for DeliveryResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let outside = || Error::Io(io::Error::other("a name was looked up outside of a delivery"));
        let deadline = attempt::current().map(|attempt| attempt.deadline).ok_or_else(outside)?;
        let mut resolved = self.names.resolve(uri, deadline).map_err(|error| match error {
            LookUpError::Timeout => Error::Timeout(Timeout::Resolve),
            error => Error::Other(error.into()),
        })?;
        resolved.addresses = self.dialer.in_order(&resolved.addresses, resolved.port);
        let found = addresses(&resolved, |address| !self.guarded || guard::is_public(address));
        match resolved.addresses.first() {
            Some(address) if found.is_empty() => {
                Err(Error::Other(PrivateAddress { address: *address, literal: resolved.literal }.into()))
            }
            _ => Ok(found),
        }
    }
}

impl fmt::Debug for DeliveryResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryResolver")
    }
}
