//! Curves as SVG, both axes logarithmic: what grows in proportion is a straight line. An axis that begins with nothing is
//! linear.
use plotters::{
    coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter},
    prelude::*,
};

const COLOURS: [RGBColor; 8] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xe3, 0x77, 0xc2),
    RGBColor(0x7f, 0x7f, 0x7f),
];

/// One line for each name.
pub fn curves(title: &str, unit: &str, curves: &[(String, Vec<(f64, f64)>)]) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, title, unit, curves).map_err(|error| format!("{title}: {error}"))?;
    Ok(text)
}

type Failure = Box<dyn std::error::Error>;

fn draw(text: &mut String, title: &str, unit: &str, curves: &[(String, Vec<(f64, f64)>)]) -> Result<(), Failure> {
    let x = range(curves, |point| point.0);
    if curves.iter().flat_map(|(_, points)| points).any(|point| point.0 == 0.0) {
        draw_on(text, title, unit, curves, 0.0..x.end)
    } else {
        draw_on(text, title, unit, curves, x.log_scale())
    }
}

/// From the least value above nothing to the greatest, with room around.
fn range(curves: &[(String, Vec<(f64, f64)>)], value: fn(&(f64, f64)) -> f64) -> std::ops::Range<f64> {
    let values = curves.iter().flat_map(|(_, points)| points).map(value);
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    (low / 1.3)..(high * 1.3)
}

fn draw_on<X>(
    text: &mut String,
    title: &str,
    unit: &str,
    curves: &[(String, Vec<(f64, f64)>)],
    x: X,
) -> Result<(), Failure>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let area = SVGBackend::with_string(text, (900, 540)).into_drawing_area();
    area.fill(&WHITE).map_err(|error| error.to_string())?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(x, range(curves, |point| point.1).log_scale())
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .y_desc(unit)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value}"))
        .draw()
        .map_err(|error| error.to_string())?;
    for (place, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let line = points.iter().copied().filter(|(_, y)| *y > 0.0);
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))
            .map_err(|error| error.to_string())?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(|error| error.to_string())?;
    area.present().map_err(|error| error.to_string())?;
    Ok(())
}
