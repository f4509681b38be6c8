//! The configuration file as it is written: every key optional, unknown keys refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stentor_membership::DaemonName;

use super::units::{HostPort, Mode, Size, Span};
use crate::spread::auth::{Method, Source};
use crate::spread::listen::Listen;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<DaemonName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) daemons: BTreeMap<DaemonName, HostPort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<RawTls>,
    pub(crate) clients: RawClients,
    #[serde(skip_serializing_if = "RawSpread::is_off")]
    pub(crate) spread: RawSpread,
    pub(crate) membership: RawMembership,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawClients {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket_mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_queue_out: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_sessions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_groups: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handshake_timeout: Option<Span>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSpread {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) listen: Vec<Listen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket_mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Vec<Method>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require: Option<Vec<Method>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_from: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passwords: Option<PathBuf>,
}

impl RawSpread {
    fn is_off(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawMembership {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspect_after_min: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suspect_after_max: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_queue: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_message: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require_primary: Option<bool>,
}
