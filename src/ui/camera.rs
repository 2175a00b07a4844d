//! Pan and zoom of the big picture: where the whole image lies on the screen.

use egui::{Pos2, Rect, Vec2, pos2, vec2};

/// Where the image lies in its pane. Without a zoom of its own the image is fitted, also when the pane changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Camera {
    zoomed: Option<Zoomed>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Zoomed {
    /// Points of the screen per pixel of the image.
    scale: f32,
    /// The position in the image, in pixels, at the middle of the pane.
    center: Pos2,
}

impl Camera {
    /// Largest size of an image pixel on the screen, in points.
    const MAX_SCALE: f32 = 64.0;
    /// Smallest share of the fitted size.
    const MIN_SHARE_OF_FIT: f32 = 0.25;

    /// Fits the whole image.
    pub fn fit(&mut self) {
        self.zoomed = None;
    }

    /// Shows the image with `scale` points per pixel around what is in the middle now.
    pub fn set_scale(&mut self, scale: f32, pane: Rect, image_size: Vec2) {
        let center = self.current(pane, image_size).center;
        self.zoomed = Some(Zoomed { scale, center });
    }

    /// Moves the image by so many points of the screen.
    pub fn pan(&mut self, delta: Vec2, pane: Rect, image_size: Vec2) {
        let mut zoomed = self.current(pane, image_size);
        zoomed.center -= delta / zoomed.scale;
        // The middle of the pane stays on the image, so that it cannot be lost.
        zoomed.center = zoomed.center.clamp(Pos2::ZERO, image_size.to_pos2());
        self.zoomed = Some(zoomed);
    }

    /// Zooms by a factor; the point of the image under `anchor` stays where it is.
    pub fn zoom(&mut self, factor: f32, anchor: Pos2, pane: Rect, image_size: Vec2) {
        let before = self.current(pane, image_size);
        let smallest = fit_scale(pane, image_size) * Self::MIN_SHARE_OF_FIT;
        let scale = (before.scale * factor).clamp(smallest, Self::MAX_SCALE.max(smallest));
        let from_middle = anchor - pane.center();
        let center = before.center + from_middle / before.scale - from_middle / scale;
        self.zoomed = Some(Zoomed { scale, center });
    }

    /// Where the whole image lies on the screen.
    #[must_use]
    pub fn image_rect(&self, pane: Rect, image_size: Vec2) -> Rect {
        let Zoomed { scale, center } = self.current(pane, image_size);
        Rect::from_min_size(pane.center() - center.to_vec2() * scale, image_size * scale)
    }

    fn current(&self, pane: Rect, image_size: Vec2) -> Zoomed {
        let fit = || Zoomed { scale: fit_scale(pane, image_size), center: (image_size / 2.0).to_pos2() };
        self.zoomed.unwrap_or_else(fit)
    }
}

fn fit_scale(pane: Rect, image_size: Vec2) -> f32 {
    let ratio = pane.size().max(vec2(1.0, 1.0)) / image_size.max(vec2(1.0, 1.0));
    ratio.min_elem().min(Camera::MAX_SCALE)
}

/// The position in the image, in its pixels, under a position on the screen.
#[must_use]
pub fn image_from_screen(position: Pos2, image_rect: Rect, image_size: Vec2) -> Pos2 {
    let share = (position - image_rect.min) / image_rect.size().max(vec2(f32::EPSILON, f32::EPSILON));
    pos2(share.x * image_size.x, share.y * image_size.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Vec2 = vec2(400.0, 200.0);

    fn pane() -> Rect {
        Rect::from_min_size(pos2(10.0, 20.0), vec2(200.0, 200.0))
    }

    #[test]
    fn a_fitted_image_touches_the_nearer_edges_and_is_centred() {
        let rect = Camera::default().image_rect(pane(), IMAGE);
        assert_eq!(rect, Rect::from_min_size(pos2(10.0, 70.0), vec2(200.0, 100.0)));
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let mut camera = Camera::default();
        let anchor = pos2(60.0, 100.0);
        let before = image_from_screen(anchor, camera.image_rect(pane(), IMAGE), IMAGE);
        camera.zoom(3.0, anchor, pane(), IMAGE);
        let rect = camera.image_rect(pane(), IMAGE);
        let after = image_from_screen(anchor, rect, IMAGE);
        assert!((before - after).length() < 1e-3, "{before:?} became {after:?}");
        assert!((rect.width() - 600.0).abs() < 1e-3);
    }

    #[test]
    fn an_image_cannot_be_lost_by_panning() {
        let mut camera = Camera::default();
        camera.pan(vec2(1e6, -1e6), pane(), IMAGE);
        let middle = image_from_screen(pane().center(), camera.image_rect(pane(), IMAGE), IMAGE);
        assert_eq!(middle, pos2(0.0, 200.0));
    }

    #[test]
    fn extreme_shapes_have_a_place() {
        for size in [vec2(1.0, 1.0), vec2(20000.0, 50.0), vec2(1.0, 30000.0)] {
            let rect = Camera::default().image_rect(pane(), size);
            assert!(rect.is_finite() && rect.width() > 0.0 && rect.height() > 0.0, "{size:?} gave {rect:?}");
        }
    }
}
