//! Whether what the programs saw keeps the promises.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{bail, ensure};
use stentor_client::{GroupViewId, MemberName};

use super::witness::{Life, Seen};

/// What was compared.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) comparisons: usize,
    pub(super) messages: usize,
    pub(super) views: usize,
}

/// Checks the lives of all programs; the first two were never cut off, the last one began after the crash.
///
/// # Errors
/// Says which promise was broken, by which message, for whom.
pub(super) fn check(lives: &[Life]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for (index, one) in lives.iter().enumerate() {
        check_own(one)?;
        for other in &lives[index + 1..] {
            check_order(one, other, &mut report)?;
            check_views(one, other, &mut report)?;
        }
    }
    if let [ann, bob, .., cas] = lives {
        check_same_since_together(ann, bob)?;
        check_same_since_together(ann, cas)?;
    }
    Ok(report)
}

/// Nothing comes twice; a program whose daemon lives sees all its own messages, in the order in which it sent them.
fn check_own(life: &Life) -> anyhow::Result<()> {
    let mut all = HashSet::new();
    for (sender, number) in life.messages() {
        ensure!(all.insert((sender, number)), "{} saw \"{sender} {number}\" twice", life.name);
    }
    let own: Vec<u32> = life.messages().filter(|(sender, _)| *sender == life.name).map(|(_, n)| n).collect();
    let own: Vec<u32> = own.into_iter().filter(|n| *n >= life.first).collect();
    let expected: Vec<u32> = (life.first..=life.last).collect();
    let right = if life.killed { expected.starts_with(&own) } else { own == expected };
    // The last one may have been sent without the sender having heard so.
    let right = right || life.killed && own.split_last().is_some_and(|(_, rest)| expected == rest);
    ensure!(right, "{} did not see its own messages {}..={} in order", life.name, life.first, life.last);
    Ok(())
}

/// What both saw, both saw in the same order.
fn check_order(one: &Life, other: &Life, report: &mut Report) -> anyhow::Result<()> {
    let places: HashMap<_, _> =
        other.messages().enumerate().map(|(place, message)| (message, place)).collect();
    let mut last = None;
    for message in one.messages() {
        let Some(&place) = places.get(&message) else { continue };
        if last.is_some_and(|last| place < last) {
            let (sender, number) = message;
            bail!("{} and {} saw \"{sender} {number}\" in different orders", one.name, other.name);
        }
        last = Some(place);
        report.messages += 1;
    }
    report.comparisons += 1;
    Ok(())
}

/// The same view has the same members.
fn check_views(one: &Life, other: &Life, report: &mut Report) -> anyhow::Result<()> {
    let views: BTreeMap<GroupViewId, &[MemberName]> = views(other).collect();
    for (id, members) in self::views(one) {
        let Some(others) = views.get(&id) else { continue };
        ensure!(*others == members, "{} and {} saw view {id} with different members", one.name, other.name);
        report.views += 1;
    }
    Ok(())
}

/// Two that stayed together saw exactly the same from the first view that both saw: all messages between each two
/// views, and all views.
fn check_same_since_together(one: &Life, other: &Life) -> anyhow::Result<()> {
    let ids: HashSet<_> = views(other).map(|(id, _)| id).collect();
    let Some((first, _)) = views(one).find(|(id, _)| ids.contains(id)) else {
        bail!("{} and {} never saw the same view", one.name, other.name)
    };
    let (ours, theirs) = (since(one, first), since(other, first));
    for (our, their) in ours.iter().zip(&theirs) {
        ensure!(our == their, "{} saw {our} where {} saw {their}", one.name, other.name);
    }
    ensure!(
        ours.len() == theirs.len(),
        "{} saw {} events where {} saw {}",
        one.name,
        ours.len(),
        other.name,
        theirs.len()
    );
    Ok(())
}

fn views(life: &Life) -> impl Iterator<Item = (GroupViewId, &[MemberName])> {
    life.seen.iter().filter_map(|seen| match seen {
        Seen::View { id, members, .. } => Some((*id, members.as_slice())),
        Seen::Message { .. } | Seen::Transitional | Seen::Over(_) => None,
    })
}

/// What was seen from a view on, each in words.
fn since(life: &Life, view: GroupViewId) -> Vec<String> {
    let events = life.seen.iter().skip_while(|seen| !matches!(seen, Seen::View { id, .. } if *id == view));
    let words = events.filter_map(|seen| match seen {
        Seen::Message { sender, number, .. } => Some(format!("\"{sender} {number}\"")),
        Seen::View { id, .. } => Some(format!("view {id}")),
        Seen::Transitional => Some("a transitional event".to_owned()),
        Seen::Over(_) => None,
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn life(name: &'static str, messages: &[(&str, u32)]) -> Life {
        let seen = messages.iter().map(|(sender, number)| Seen::Message {
            sender: (*sender).to_owned(),
            number: *number,
            at: Instant::now(),
        });
        let last = messages.iter().filter(|(sender, _)| *sender == name).count();
        let last = u32::try_from(last).unwrap();
        Life { name, seen: seen.collect(), first: 1, last, killed: false }
    }

    #[test]
    fn different_orders_are_found() {
        let one = life("ann", &[("ann", 1), ("bob", 1), ("ann", 2)]);
        let other = life("bob", &[("bob", 1), ("ann", 1), ("ann", 2)]);
        let error = check(&[one.clone(), other]).unwrap_err().to_string();
        assert!(error.contains("ann and bob saw \"bob 1\" in different orders"), "{error}");
        let error = check(&[one.clone(), one.clone(), one]).unwrap_err().to_string();
        assert!(error.contains("never saw the same view"), "{error}");
    }

    #[test]
    fn doubles_and_gaps_are_found() {
        assert!(check_own(&life("ann", &[("bob", 1), ("bob", 1)])).is_err());
        assert!(check_own(&life("ann", &[("ann", 2), ("ann", 1)])).is_err());
        assert!(check_own(&life("ann", &[("ann", 1), ("bob", 7), ("ann", 2)])).is_ok());
        let mut short = life("ann", &[("ann", 1), ("ann", 2)]);
        short.last = 3;
        assert!(check_own(&short).is_err());
        short.killed = true;
        assert!(check_own(&short).is_ok());
    }
}
