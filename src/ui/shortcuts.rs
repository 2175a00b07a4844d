//! Keyboard shortcuts: one table for the keys, the sheet and the tooltips.

use super::command::Command;
use super::state::Sheet;
use egui::{Key, KeyboardShortcut, Modifiers};

/// One row of the sheet: its keys and what they do.
#[derive(Clone, Copy)]
pub struct Shortcut {
    /// The keys; any of them will do.
    pub keys: &'static [KeyboardShortcut],
    /// How the keys are written.
    pub text: &'static str,
    /// What happens, for the sheet.
    pub action: &'static str,
    command: fn() -> Command,
    /// Whether it also works while a text box or another control has the focus.
    everywhere: bool,
}

const fn plain(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::NONE, key)
}

const fn ctrl(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::COMMAND, key)
}

const fn shift(key: Key) -> KeyboardShortcut {
    KeyboardShortcut::new(Modifiers::SHIFT, key)
}

const fn row(
    keys: &'static [KeyboardShortcut],
    text: &'static str,
    action: &'static str,
    command: fn() -> Command,
) -> Shortcut {
    Shortcut { keys, text, action, command, everywhere: false }
}

const fn everywhere(shortcut: Shortcut) -> Shortcut {
    Shortcut { everywhere: true, ..shortcut }
}

const HELP_KEYS: &[KeyboardShortcut] = &[plain(Key::Questionmark), plain(Key::F1)];

/// All shortcuts in the order of the sheet, but for the digits, which [`pressed`] adds.
pub const SHORTCUTS: &[Shortcut] = &[
    everywhere(row(&[ctrl(Key::O)], "Ctrl+O", "Open images…", || Command::ShowImageDialog)),
    everywhere(row(&[ctrl(Key::M)], "Ctrl+M", "Open a model…", || Command::ShowModelDialog)),
    row(&[plain(Key::I)], "I", "Everything about the model", || Command::ToggleSheet(Sheet::Model)),
    row(&[plain(Key::M)], "M", "Model card…", || Command::ToggleSheet(Sheet::Card)),
    row(&[plain(Key::P)], "P", "Compare with another provider…", || Command::ToggleSheet(Sheet::Parity)),
    row(&[plain(Key::ArrowRight)], "→", "Next image", || Command::StepImage(1)),
    row(&[plain(Key::ArrowLeft)], "←", "Previous image", || Command::StepImage(-1)),
    row(&[plain(Key::ArrowDown), plain(Key::PageDown)], "↓ or PgDn", "Next layer", || Command::StepLayer(1)),
    row(&[plain(Key::ArrowUp), plain(Key::PageUp)], "↑ or PgUp", "Previous layer", || Command::StepLayer(-1)),
    row(&[plain(Key::T)], "T", "Next task, where the model has several", || Command::StepTask(1)),
    row(&[plain(Key::Period)], ".", "Next slot (Soft MoE)", || Command::StepSlot(1)),
    row(&[plain(Key::Comma)], ",", "Previous slot (Soft MoE)", || Command::StepSlot(-1)),
    row(&[plain(Key::CloseBracket)], "]", "One more expert per token (top-k)", || Command::StepTopK(1)),
    row(&[plain(Key::OpenBracket)], "[", "One expert fewer per token (top-k)", || Command::StepTopK(-1)),
    row(&[plain(Key::B)], "B", "Ban the lit expert in this layer, or allow it again", || Command::ToggleBanOfLit),
    row(&[plain(Key::R)], "R", "The model's own routing again", || Command::ResetRouting),
    row(&[plain(Key::Space)], "Space", "Show or hide the heatmap", || Command::ToggleOverlay),
    row(&[plain(Key::G)], "G", "Show or hide the patch grid", || Command::ToggleGrid),
    row(&[plain(Key::C)], "C", "Show or hide what the model saw", || Command::ToggleCrop),
    row(&[plain(Key::F)], "F", "Fit the image", || Command::FitImage),
    row(&[plain(Key::Num0)], "0", "One image pixel per screen pixel", || Command::ZoomToPixels),
    row(&[shift(Key::ArrowRight)], "Shift+→", "Pin the patch to the right", || Command::MovePin { rows: 0, cols: 1 }),
    row(&[shift(Key::ArrowLeft)], "Shift+←", "Pin the patch to the left", || Command::MovePin { rows: 0, cols: -1 }),
    row(&[shift(Key::ArrowDown)], "Shift+↓", "Pin the patch below", || Command::MovePin { rows: 1, cols: 0 }),
    row(&[shift(Key::ArrowUp)], "Shift+↑", "Pin the patch above", || Command::MovePin { rows: -1, cols: 0 }),
    row(&[plain(Key::Escape)], "Esc", "Unpin the patch, light all experts", || Command::ClearSelection),
    everywhere(row(&[ctrl(Key::Q)], "Ctrl+Q", "Quit", || Command::Quit)),
    row(HELP_KEYS, "? or F1", "This sheet", || Command::ToggleSheet(Sheet::Shortcuts)),
];

const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// Keys whose commands do not stand in [`SHORTCUTS`]: the digits, and copying and pasting, which come as events of their own.
pub const OTHERS: &[(&str, &str)] = &[
    ("1 … 9", "Rank, expert or slot that the heatmap shows"),
    ("Ctrl+C", "Copy the window as a picture"),
    ("Ctrl+V", "Open the picture in the clipboard"),
];

/// The commands of the keys that were pressed in this frame; the keys are taken from egui's input. While a modal sheet is
/// open only its own keys do anything, closing it; Esc and the arrows are left for it.
#[must_use]
pub fn pressed(ctx: &egui::Context, sheet: Option<Sheet>) -> Vec<Command> {
    if let Some(sheet) = sheet.filter(|sheet| sheet.is_modal()) {
        let own = SHORTCUTS.iter().filter(|row| matches!((row.command)(), Command::ToggleSheet(of) if of == sheet));
        let close = own.flat_map(|row| row.keys).any(|keys| ctx.input_mut(|input| input.consume_shortcut(keys)));
        return close.then_some(Command::ToggleSheet(sheet)).into_iter().collect();
    }
    let free = ctx.memory(|memory| memory.focused().is_none());
    ctx.input_mut(|input| {
        // egui takes Shift+→ for → as well, so keys with modifiers have to be asked for first.
        let modified = |shortcut: &Shortcut| shortcut.keys[0].modifiers != Modifiers::NONE;
        let (first, then): (Vec<&Shortcut>, Vec<&Shortcut>) =
            SHORTCUTS.iter().filter(|shortcut| free || shortcut.everywhere).partition(|shortcut| modified(shortcut));
        let table = first
            .into_iter()
            .chain(then)
            .filter(|shortcut| shortcut.keys.iter().any(|keys| input.consume_shortcut(keys)))
            .map(|shortcut| (shortcut.command)());
        let mut commands: Vec<Command> = table.collect();
        if free {
            commands.extend(input.events.contains(&egui::Event::Copy).then_some(Command::CopyView));
            let digits = (0..DIGITS.len()).filter(|&at| input.consume_key(Modifiers::NONE, DIGITS[at]));
            commands.extend(digits.map(Command::SetOverlayIndex));
        }
        commands
    })
}

#[cfg(test)]
mod tests {
    use super::SHORTCUTS;

    #[test]
    fn no_key_does_two_things() {
        let mut keys: Vec<_> = SHORTCUTS.iter().flat_map(|shortcut| shortcut.keys).collect();
        let count = keys.len();
        keys.dedup_by_key(|keys| format!("{keys:?}"));
        keys.sort_by_key(|keys| format!("{keys:?}"));
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
