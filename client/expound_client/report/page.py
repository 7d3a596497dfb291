"""The page of the report: what stands where."""

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from expound_client import pictures
from expound_client.attribution import Attribution, ClassScore
from expound_client.figures import figures, parameters, seconds
from expound_client.report.markup import definitions, details, figure, note, picture

if TYPE_CHECKING:
    from expound_client.results import ExplanationResult, MethodResult

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def to_html(result: "ExplanationResult") -> str:
    """Makes the report of an explanation: one page of HTML that needs nothing beside it."""
    style = files("expound_client.report").joinpath("style.css").read_text(encoding="utf-8")
    sections = [
        _header(result),
        *(_failure(method) for method in result.methods.values() if method.error),
        *(_input(result, index) for index in range(len(result.predictions))),
        _provenance(result),
    ]
    return _PAGE.format(title=escape(_title(result)), style=style, body="\n".join(sections))


def _title(result: "ExplanationResult") -> str:
    return f"What {result.model} saw"


def _header(result: "ExplanationResult") -> str:
    made = result.create_time.strftime("%d %B %Y, %H:%M UTC") if result.create_time else ""
    return (
        f'<header><h1>{escape(_title(result))} <span class="state {result.state}">'
        f'{result.state.lower()}</span></h1><p class="soft">{escape(made)} · '
        f"<code>{escape(result.name)}</code></p></header>"
    )


def _failure(method: "MethodResult") -> str:
    return note(f"{method.key} failed: {method.error}", bad=True)


def _input(result: "ExplanationResult", index: int) -> str:
    """One input: the image, what the model says of it, and its maps by target."""
    heading = f"Image {index + 1}" if len(result.predictions) > 1 else "Prediction"
    maps: dict[int, list[tuple[MethodResult, Attribution]]] = {}
    for method in result.methods.values():
        for attribution in method.attributions:
            if attribution.input_index == index:
                maps.setdefault(attribution.target.index, []).append((method, attribution))
    bars = [_bar(score, score.index in maps) for score in result.predictions[index].classes]
    seen = result.seen_image(index)
    image = picture(seen.image, "The image as the model saw it") if seen.known else ""
    sections = [
        (f"<h3>Why {escape(cards[0][1].target.label)}</h3>" if len(maps) > 1 else "")
        + f'<div class="cards">{"".join(_card(*each, result) for each in cards)}</div>'
        for cards in maps.values()
    ]
    return (
        f'<section><h2>{heading}</h2><div class="card{" input" if image else ""}">{image}'
        f"<div>{''.join(bars)}</div></div>{''.join(sections)}</section>"
    )


def _bar(score: ClassScore, explained: bool) -> str:
    kind = "label explained" if explained else "label"
    return (
        f'<div class="prediction"><div class="track"><div class="fill" '
        f'style="width:{score.probability:.2%}"></div><span class="{kind}">'
        f"{escape(score.label)}</span></div>"
        f'<span class="number">{score.probability:.1%}</span></div>'
    )


def _card(method: "MethodResult", attribution: Attribution, result: "ExplanationResult") -> str:
    """One map: overlay, heat map, scale, proof, warnings and parameters."""
    target = attribution.target
    ran = next(each for each in result.request.methods if each.key == method.key)
    several = len(method.attributions) > 1
    listed = [
        *figures(attribution),
        ("Time for all maps" if several else "Time", seconds(method.duration_s)),
    ]
    return (
        f'<article class="card method"><div><h3>{escape(method.key)}</h3>'
        f'<p class="soft">for <b>{escape(target.label)}</b>, {target.probability:.1%}</p></div>'
        f"{_pictures(attribution)}{_scale(attribution)}{_error_bars(attribution)}{definitions(listed)}"
        f"{_layer(attribution)}{''.join(map(note, attribution.warnings))}"
        f"{details('Parameters', definitions(parameters(ran), left=True))}</article>"
    )


def _pictures(attribution: Attribution) -> str:
    drawn = []
    if attribution.seen.known:
        drawn.append(figure(picture(attribution.overlay(), "Overlay"), "Over the image"))
    drawn.append(figure(picture(attribution.heatmap(), "Heat map", pixelated=True), "Alone"))
    return f'<div class="pictures">{"".join(drawn)}</div>'


def _scale(attribution: Attribution) -> str:
    """What the colours stand for; of an empty map, that it is empty."""
    drawn = pictures.normalize(attribution.values)
    if drawn.empty:
        return note("The map is empty: it is zero everywhere.")
    limit = f"{drawn.limit:.2g}"
    low, high = (f"against, -{limit}", f"for, {limit}") if drawn.signed else ("0", limit)
    colors = picture(pictures.scale(drawn), "Colour scale")
    return f'<div class="scale"><span>{low}</span>{colors}<span>{high}</span></div>'


def _error_bars(attribution: Attribution) -> str:
    """The largest weights with their 95 % intervals, and their segments; nothing without errors."""
    weights, errors = attribution.weights, attribution.standard_errors
    if weights is None or errors is None or attribution.segments is None:
        return ""
    listed = pictures.strongest(weights, errors)
    image = attribution.seen.image if attribution.seen.known else attribution.heatmap()
    told = ", ".join(f"{each.number}: {each.weight:+.2g} ± {each.margin:.2g}" for each in listed)
    chart = picture(
        pictures.bars(listed, len(weights)), f"Weights of segments and their 95 % intervals: {told}"
    )
    shown = pictures.numbered(image, attribution.segments, listed)
    return f'<div class="error-bars">{chart}{picture(shown, "These segments")}</div>'


def _layer(attribution: Attribution) -> str:
    """How the layer of a layer method came to be chosen."""
    reason = attribution.layer_reason
    return f'<p class="soft">{escape(attribution.layer)}: {escape(reason)}</p>' if reason else ""


def _provenance(result: "ExplanationResult") -> str:
    """What the explanation was made of and by; nothing where no worker has told."""
    made = result.provenance
    if not made.model:
        return ""
    pairs = [
        ("Model", f"{made.model}, version {made.model_version}"),
        ("Digest of the weights", made.model_digest),
        *((f"Digest of image {i + 1}", digest) for i, digest in enumerate(made.input_digests)),
        ("Seed", str(made.seed)),
        ("Device", made.device),
        ("Worker", made.worker),
        ("Libraries", ", ".join(f"{k} {v}" for k, v in sorted(made.library_versions.items()))),
    ]
    return (
        '<section><h2>Provenance</h2><div class="card">'
        f"{definitions(pairs, left=True)}</div></section>"
    )
