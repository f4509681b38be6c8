//! What messages and view changes cost: the figures are plausible, and the same each time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;
use std::time::Duration;

use stentor_simulations::growth::{Change, Growth, measure, table};

const SIZES: [usize; 3] = [2, 3, 5];

fn all() -> Vec<Growth> {
    SIZES.iter().map(|daemons| measure(*daemons).unwrap()).collect()
}

#[test]
fn a_message_costs_a_frame_for_each_pair_of_daemons() {
    for Growth { daemons, alone, in_turn, .. } in all() {
        let pairs = (daemons * (daemons - 1)) as f64;
        // The data and the clocks that others wait for; once more, or next to nothing, to let go of what all have.
        let last = if daemons == 2 { 1.0 } else { pairs };
        assert!((alone.share.frames() - pairs - last).abs() < 1e-9, "{daemons} daemons: {alone:?}");
        assert!(in_turn.share.frames() < pairs * 1.1, "{daemons} daemons: {in_turn:?}");
    }
}

#[test]
fn a_message_of_the_only_sender_waits_for_nobody() {
    for Growth { daemons, alone, listened_to, .. } in all() {
        let message = listened_to.unwrap();
        assert_eq!(message.own, Duration::ZERO, "{daemons} daemons");
        assert!(message.everywhere < alone.everywhere * 2 / 3, "{daemons} daemons: {message:?}");
        // To each other daemon, and what they confirm together.
        let least = (daemons - 1) as f64;
        assert!((least..least * 1.5).contains(&message.share.frames()), "{daemons} daemons: {message:?}");
    }
}

#[test]
fn a_message_is_delivered_after_one_way_there_and_one_back() {
    for Growth { daemons, alone, .. } in all() {
        let round_trip = Duration::from_micros(180)..Duration::from_micros(400);
        assert!(round_trip.contains(&alone.own), "{daemons} daemons: {alone:?}");
        assert!(alone.own <= alone.everywhere && round_trip.contains(&alone.everywhere), "{alone:?}");
    }
}

#[test]
fn many_messages_at_once_share_frames() {
    for Growth { daemons, alone, from_one, from_all, .. } in all() {
        for burst in [from_one, from_all] {
            assert_eq!(burst.of, 1000);
            assert!(burst.frames() < alone.share.frames() / 20.0, "{daemons} daemons: {burst:?}");
            // Each payload of 64 bytes goes to each other daemon.
            let least = 64.0 * (daemons - 1) as f64;
            assert!((least..least * 1.5).contains(&burst.bytes()), "{daemons} daemons: {burst:?}");
            assert!(burst.bytes() < alone.share.bytes(), "{daemons} daemons: {burst:?}");
        }
    }
}

#[test]
fn nothing_but_heartbeats_is_sent_at_rest() {
    for Growth { daemons, rest, .. } in all() {
        assert_eq!((rest.frames, rest.datagrams), (0, 10 * (daemons * (daemons - 1)) as u64), "{daemons}");
    }
}

#[test]
fn a_crash_is_noticed_by_silence_and_a_leave_at_once() {
    for Growth { daemons, start, crash, back, leave, .. } in all() {
        let silence = Duration::from_millis(400)..Duration::from_millis(600);
        assert!(silence.contains(&crash.noticed), "{daemons} daemons: {crash:?}");
        for quick in [leave.installed, crash.agreed()] {
            assert!(quick < Duration::from_millis(2), "{daemons} daemons: {quick:?}");
        }
        // A merge waits a while for others.
        for Change { installed, .. } in [start, back] {
            let wait = Duration::from_millis(50)..Duration::from_millis(150);
            assert!(wait.contains(&installed), "{daemons} daemons: {installed:?}");
        }
    }
}

#[test]
fn the_command_prints_the_same_table_each_time() {
    let print = || {
        let output =
            Command::new(env!("CARGO_BIN_EXE_simulate")).args(["--growth", "2,3,5"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = print();
    assert_eq!(printed, print());
    assert_eq!(printed, table(&all()) + "\n");
    let cells = |line: &str| line.matches('|').count();
    assert!(printed.lines().count() > 20 && printed.lines().all(|line| cells(line) == SIZES.len() + 3));
    assert!(printed.starts_with("| daemons | 2 | 3 | 5 | grows as |\n"), "{printed}");
}
