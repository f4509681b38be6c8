//! `stentor init`: an authority for the cluster, and for each daemon a key, a certificate and a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use stentor_membership::DaemonName;

use super::output::print;
use crate::config::units::HostPort;
use crate::config::{ClusterName, Config, template};
use crate::transport::tls::certificate_name;

/// How long the certificates of a cluster are valid.
const VALID_YEARS: i32 = 10;

/// Well in the past, so that a daemon whose clock is behind accepts new certificates.
const VALID_FROM_YEAR: i32 = 2000;

#[derive(Args, Debug)]
#[command(after_help = "Example, three daemons on one machine:\n  \
    stentor init cluster --daemon a=127.0.0.1:4810 --daemon b=127.0.0.1:4811 --daemon c=127.0.0.1:4812\n  \
    stentor daemon --config cluster/a.toml")]
pub(crate) struct InitArgs {
    /// The directory for the files; made if need be. Nothing in it is ever overwritten.
    dir: PathBuf,
    /// A daemon, and the UDP address where the others reach it. Once for each daemon.
    #[arg(long = "daemon", value_name = "NAME=HOST:PORT", required = true)]
    daemons: Vec<DaemonAt>,
    /// The name of the cluster, which all its daemons share.
    #[arg(long, default_value_t = ClusterName::default())]
    cluster: ClusterName,
}

/// A daemon and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DaemonAt {
    pub(crate) name: DaemonName,
    pub(crate) address: HostPort,
}

impl FromStr for DaemonAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?}: write NAME=HOST:PORT, for example a=127.0.0.1:4810"))?;
        let name = DaemonName::new(name).map_err(|e| e.to_string())?;
        Ok(Self { name, address: address.parse()? })
    }
}

/// What a new cluster consists of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) cluster: ClusterName,
    pub(crate) daemons: Vec<DaemonAt>,
}

pub(crate) fn run(args: InitArgs) -> anyhow::Result<()> {
    let plan = Plan { dir: args.dir, cluster: args.cluster, daemons: args.daemons };
    let configs = create(&plan)?;
    print(&summary(&plan, &configs))
}

/// What was made, and what to do with it.
fn summary(plan: &Plan, configs: &[PathBuf]) -> String {
    let dir = plan.dir.display();
    let starts: String =
        configs.iter().map(|config| format!("  stentor daemon --config {}\n", config.display())).collect();
    format!(
        "Made the cluster {:?} in {dir}:
  ca.pem, ca.key     the cluster's authority; keep ca.key safe, no daemon needs it
  NAME.pem, NAME.key each daemon's certificate and private key
  NAME.toml          each daemon's configuration

Start each daemon on its machine, with its own three files and ca.pem beside them:
{starts}
Then, for example: stentor join chat --connect unix:{dir}/NAME.sock
",
        plan.cluster.as_str()
    )
}

/// Makes all files of a new cluster, or none; returns the configurations in the order of the daemons.
///
/// # Errors
/// Says what is wrong with the plan, which file exists already, or which cannot be written.
pub(crate) fn create(plan: &Plan) -> anyhow::Result<Vec<PathBuf>> {
    check(plan)?;
    let files = contents(plan)?;
    if let Some(file) = files.iter().map(|f| plan.dir.join(&f.name)).find(|f| f.symlink_metadata().is_ok()) {
        bail!("{} exists and is not overwritten: choose another directory or move it away", file.display());
    }
    write_all(&plan.dir, &files)?;
    Ok(plan.daemons.iter().map(|daemon| plan.dir.join(format!("{}.toml", daemon.name))).collect())
}

fn check(plan: &Plan) -> anyhow::Result<()> {
    if plan.daemons.is_empty() {
        bail!("no daemons: name at least one with --daemon NAME=HOST:PORT");
    }
    let mut names = BTreeSet::new();
    let mut addresses = BTreeMap::new();
    for DaemonAt { name, address } in &plan.daemons {
        if !names.insert(name) {
            bail!("daemon {name} is named twice: each needs its own name");
        }
        if let Some(other) = addresses.insert(address, name) {
            bail!("{other} and {name} have the same address {address}: each needs its own");
        }
        if name.as_str() == "ca" {
            bail!("daemon name ca is taken by the files of the authority: choose another");
        }
    }
    Ok(())
}

struct File {
    name: String,
    text: String,
    mode: u32,
}

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

fn contents(plan: &Plan) -> anyhow::Result<Vec<File>> {
    let ca_key = KeyPair::generate().context("cannot make a key")?;
    let ca_params = authority(&plan.cluster)?;
    let ca = ca_params.self_signed(&ca_key).context("cannot make the authority's certificate")?;
    let mut files = vec![
        File { name: "ca.pem".to_owned(), text: ca.pem(), mode: PUBLIC },
        File { name: "ca.key".to_owned(), text: ca_key.serialize_pem(), mode: PRIVATE },
    ];
    let issuer = Issuer::new(ca_params, ca_key);
    for daemon in &plan.daemons {
        let name = daemon.name;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = certificate(name)?
            .signed_by(&key, &issuer)
            .with_context(|| format!("cannot make the certificate of {name}"))?;
        let config = template::render(name, &plan.cluster, &plan.daemons);
        // What is written can be used: this finds, for example, a path that is too long for a socket.
        Config::parse(&config, &plan.dir.join(format!("{name}.toml")))?;
        files.extend([
            File { name: format!("{name}.pem"), text: certificate.pem(), mode: PUBLIC },
            File { name: format!("{name}.key"), text: key.serialize_pem(), mode: PRIVATE },
            File { name: format!("{name}.toml"), text: config, mode: PUBLIC },
        ]);
    }
    Ok(files)
}

fn authority(cluster: &ClusterName) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = distinguished(&format!("Stentor cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params)?;
    Ok(params)
}

fn certificate(daemon: DaemonName) -> anyhow::Result<CertificateParams> {
    let dns_name = certificate_name(daemon);
    let mut params = CertificateParams::new(vec![dns_name.clone()])?;
    params.distinguished_name = distinguished(&dns_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params)?;
    Ok(params)
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn validity(params: &mut CertificateParams) -> anyhow::Result<()> {
    const SECONDS_PER_YEAR: u64 = 31_556_952;
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| anyhow!("the clock says that it is before 1970: set it right"))?;
    let year = 1970 + i32::try_from(since_1970.as_secs() / SECONDS_PER_YEAR).context("the clock is wrong")?;
    params.not_before = rcgen::date_time_ymd(VALID_FROM_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(year.clamp(2024, 9000) + VALID_YEARS, 12, 31);
    Ok(())
}

/// Writes all files, or takes back those it wrote.
fn write_all(dir: &Path, files: &[File]) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the directory {}", dir.display()))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = dir.join(&file.name);
        if let Err(error) = write_new(&path, file, &mut written) {
            for path in &written {
                // The first error is the one to report.
                let _ = fs::remove_file(path);
            }
            return Err(error).with_context(|| format!("cannot write {}; nothing was made", path.display()));
        }
    }
    Ok(())
}

fn write_new(path: &Path, file: &File, written: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut out = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(path)?;
    written.push(path.to_owned());
    out.write_all(file.text.as_bytes())?;
    out.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::transport::tls::Identity;

    fn plan(dir: &Path, daemons: &[&str]) -> Plan {
        let daemons = daemons.iter().map(|daemon| daemon.parse().unwrap()).collect();
        Plan { dir: dir.to_owned(), cluster: "test".parse().unwrap(), daemons }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_made_can_be_used_and_only_the_owner_reads_keys() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("made/as/needed");
        let configs = create(&plan(&dir, &["a=127.0.0.1:4810", "b-2=host.example:4811"])).unwrap();
        assert_eq!(configs, [dir.join("a.toml"), dir.join("b-2.toml")]);
        for path in configs {
            let config = Config::load(&path).unwrap();
            assert_eq!(config.cluster.as_str(), "test");
            assert_eq!(config.clients.socket, dir.join(format!("{}.sock", config.name)));
            let network = config.network.unwrap();
            Identity::load(&network.tls, config.name).unwrap();
            let mode = fs::metadata(&network.tls.key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mode = fs::metadata(dir.join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_ever_overwritten_and_nothing_is_left_half_made() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        fs::write(dir.join("b.key"), "precious").unwrap();
        let error = create(&plan(dir, &["a=h:1", "b=h:2"])).unwrap_err().to_string();
        assert!(error.contains("b.key exists") && error.contains("move it away"), "{error}");
        assert_eq!(names(dir), ["b.key"]);
        assert_eq!(fs::read_to_string(dir.join("b.key")).unwrap(), "precious");
        // Not even through a dangling link.
        std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("a.toml")).unwrap();
        create(&plan(dir, &["a=h:1"])).unwrap_err();
        assert_eq!(names(dir), ["a.toml", "b.key"]);

        // A failure half way takes back what was written.
        let file = |name: &str| File { name: name.to_owned(), text: "new".to_owned(), mode: PUBLIC };
        let error = write_all(dir, &[file("x"), file("y"), file("b.key")]).unwrap_err();
        assert!(format!("{error:#}").contains("b.key; nothing was made"), "{error:#}");
        assert_eq!(names(dir), ["a.toml", "b.key"]);
    }

    #[test]
    fn a_wrong_plan_is_refused_before_anything_is_made() {
        let temp = tempfile::tempdir().unwrap();
        let cases: [(&[&str], &str); 5] = [
            (&[], "no daemons"),
            (&["a=h:1", "a=h:2"], "a is named twice"),
            (&["a=h:1", "b=h:1"], "a and b have the same address h:1"),
            (&["ca=h:1"], "choose another"),
            (&["0123456789012345678901234567890=h:1"], "at most 107"),
        ];
        for (daemons, text) in cases {
            let dir = temp.path().join("d".repeat(80));
            let error = create(&plan(&dir, daemons)).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert!(!dir.exists());
        }
        for (daemon, text) in [
            ("a", "NAME=HOST:PORT"),
            ("A=h:1", "a-z"),
            ("a-=h:1", "not ending in '-'"),
            ("a=h", "no port"),
            ("=h:1", "daemon name"),
            ("a=0.0.0.0:4810", "others reach"),
            ("a=[::]:4810", "others reach"),
        ] {
            let error = daemon.parse::<DaemonAt>().unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
