//! Panels over one axis of time, as SVG text. Colours follow the reader's choice of light or dark.

use super::axis::{Axis, Scale, every, step};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 936.0;
/// Where the first panel begins, below title and subtitles.
const TOP: f64 = 104.0;
/// From the top of one panel to that of the next; its header is in it.
const STRIDE: f64 = 184.0;
const HEADER: f64 = 34.0;
const PLOT: f64 = 126.0;
/// Below the last panel: the axis of time.
const FOOT: f64 = 44.0;
/// About so many marks along the axis of time.
const MARKS: f64 = 10.0;

/// Written out, without variables: not every reader of SVG knows those.
const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}\
.paper{fill:#ffffff}.title{font-size:19px;font-weight:600}.name{font-size:13px;font-weight:600}.soft{fill:#59636e}\
.grid{stroke:#e3e7eb;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}.warm{fill:#8c959f;fill-opacity:.13}\
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.wide{stroke-width:4.5;stroke-opacity:.4}.area{fill-opacity:.22}\
.s0{stroke:#0969da}.s1{stroke:#c2410c}.f0{fill:#0969da}.f1{fill:#c2410c}\
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.soft{fill:#9198a1}\
.grid{stroke:#262c34}.axis{stroke:#656c76}.s0{stroke:#58a6ff}.s1{stroke:#ff9b5e}.f0{fill:#58a6ff}.f1{fill:#ff9b5e}}";

/// The whole picture.
#[derive(Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// How, and on what: a line each, two at most.
    pub(super) subtitles: Vec<String>,
    /// From and until when, in minutes; what is before 0 is shaded.
    pub(super) time: (f64, f64),
    /// From above to below.
    pub(super) panels: Vec<Panel>,
}

/// One panel.
#[derive(Debug)]
pub(super) struct Panel {
    /// What is measured.
    pub(super) name: &'static str,
    /// In what unit, and what came of it.
    pub(super) note: String,
    /// How the values lie.
    pub(super) scale: Scale,
    /// How a value is written at the axis.
    pub(super) show: fn(f64) -> String,
    /// At most two; the first is drawn first.
    pub(super) series: Vec<Series>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As it is.
    Plain,
    /// Wide and pale, so that one that runs upon it can be told from it.
    Wide,
    /// What is below it is filled.
    Filled,
}

/// One line of a panel.
#[derive(Debug)]
pub(super) struct Series {
    /// What the legend says.
    pub(super) name: &'static str,
    /// How it is drawn.
    pub(super) look: Look,
    /// Minutes and values; one that is no number is a gap.
    pub(super) points: Vec<(f64, f64)>,
}

impl Panel {
    fn values(&self) -> Vec<f64> {
        self.series.iter().flat_map(|series| &series.points).map(|point| point.1).collect()
    }
}

impl Chart {
    /// The picture as the text of a file.
    pub(super) fn svg(&self) -> String {
        let bottom = TOP + STRIDE * self.panels.len() as f64 - (STRIDE - HEADER - PLOT);
        let height = bottom + FOOT;
        let mut svg = String::new();
        let about = escaped(&format!("{}. {}", self.title, self.subtitles.join(" ")));
        put(
            &mut svg,
            &format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{about}\"><style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>"
            ),
        );
        text(&mut svg, (24.0, 34.0), "title", "start", &self.title);
        for (line, y) in self.subtitles.iter().zip([57.0, 75.0]) {
            text(&mut svg, (24.0, y), "soft", "start", line);
        }
        for (panel, at) in self.panels.iter().zip(0_u32..) {
            self.panel(&mut svg, panel, TOP + STRIDE * f64::from(at) + HEADER);
        }
        for minute in self.minutes() {
            text(&mut svg, (self.x(minute), bottom + 18.0), "soft", "middle", &rounded(minute));
        }
        text(&mut svg, (f64::midpoint(LEFT, RIGHT), bottom + 36.0), "soft", "middle", "minutes");
        put(&mut svg, "</svg>");
        svg
    }

    fn panel(&self, svg: &mut String, panel: &Panel, top: f64) {
        let (axis, bottom) = (Axis::of(panel.scale, &panel.values()), top + PLOT);
        header(svg, panel, top - 12.0);
        if self.time.0 < 0.0 {
            let width = self.x(0.0) - LEFT;
            put(
                svg,
                &format!(
                    "<rect class=\"warm\" x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{PLOT}\"/>"
                ),
            );
            text(svg, (LEFT + 6.0, top + 14.0), "soft", "start", "warming up");
        }
        for minute in self.minutes() {
            let x = self.x(minute);
            line(svg, "grid", (x, top), (x, bottom));
        }
        for value in &axis.lines {
            let y = bottom - PLOT * axis.at(*value);
            line(svg, "grid", (LEFT, y), (RIGHT, y));
            text(svg, (LEFT - 8.0, y + 4.0), "soft", "end", &(panel.show)(*value));
        }
        for (series, color) in panel.series.iter().zip(0_u32..) {
            self.series(svg, series, color, &|value| bottom - PLOT * axis.at(value), bottom);
        }
        line(svg, "axis", (LEFT, bottom), (RIGHT, bottom));
    }

    fn series(&self, svg: &mut String, series: &Series, color: u32, y: &dyn Fn(f64) -> f64, bottom: f64) {
        for piece in series.points.split(|point| !point.1.is_finite()) {
            let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
            let place = |point: &(f64, f64)| format!("{:.1} {:.1}", self.x(point.0), y(point.1));
            let path = piece.iter().map(place).collect::<Vec<_>>().join("L");
            if series.look == Look::Filled {
                let (from, to) = (self.x(first.0), self.x(last.0));
                put(
                    svg,
                    &format!(
                        "<path class=\"area f{color}\" d=\"M{from:.1} {bottom}L{path}L{to:.1} {bottom}Z\"/>"
                    ),
                );
            }
            let wide = if series.look == Look::Wide { " wide" } else { "" };
            put(svg, &format!("<path class=\"line{wide} s{color}\" d=\"M{path}\"/>"));
        }
    }

    fn x(&self, minute: f64) -> f64 {
        let (from, to) = self.time;
        LEFT + (RIGHT - LEFT) * ((minute - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn minutes(&self) -> Vec<f64> {
        let (from, to) = self.time;
        every(step((to - from) / MARKS), from, to)
    }
}

/// Name and note on the left, the legend on the right.
fn header(svg: &mut String, panel: &Panel, y: f64) {
    put(
        svg,
        &format!(
            "<text x=\"{LEFT}\" y=\"{y}\"><tspan class=\"name\">{}</tspan><tspan class=\"soft\" dx=\"10\">{}</tspan></text>",
            escaped(panel.name),
            escaped(&panel.note)
        ),
    );
    let entry = |(series, color): (&Series, u32)| {
        let name = escaped(series.name);
        format!(
            "<tspan class=\"f{color}\" dx=\"14\">\u{25cf}</tspan><tspan class=\"soft\" dx=\"5\">{name}</tspan>"
        )
    };
    let legend: String = panel.series.iter().zip(0_u32..).map(entry).collect();
    put(svg, &format!("<text x=\"{RIGHT}\" y=\"{y}\" text-anchor=\"end\">{legend}</text>"));
}

/// Without the dust that sums of tenths gather.
fn rounded(minute: f64) -> String {
    let text = format!("{minute:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let (x, y, x_to, y_to) = (from.0, from.1, to.0, to.1);
    put(svg, &format!("<path class=\"{class}\" d=\"M{x:.1} {y:.1}L{x_to:.1} {y_to:.1}\"/>"));
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
    let words = escaped(words);
    put(
        svg,
        &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"),
    );
}

fn put(svg: &mut String, line: &str) {
    svg.push_str(line);
    svg.push('\n');
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = Series { name: "a", look: Look::Filled, points };
        let panel = Panel {
            name: "Rate",
            note: "a < b".to_owned(),
            scale: Scale::Log,
            show: |value| format!("{value}"),
            series: vec![series],
        };
        Chart { title: "T".to_owned(), subtitles: Vec::new(), time: (-1.0, 3.0), panels: vec![panel] }
    }

    #[test]
    fn a_picture_stands_whatever_the_values_are() {
        for points in
            [vec![], vec![(0.0, f64::NAN)], vec![(0.0, 0.0), (1.0, 0.0)], vec![(0.0, 3.0), (1.0, 4e9)]]
        {
            let svg = chart(points).svg();

            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("a &lt; b"), "{svg}");
        }
    }

    #[test]
    fn a_value_that_is_missing_is_a_gap() {
        let svg = chart(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 4.0)]).svg();

        assert_eq!(svg.matches("class=\"line s0\"").count(), 2, "{svg}");
    }
}
