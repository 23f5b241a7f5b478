"""Hypothesis strategies made from the CRD's own schema: specs of the right types, at and around every limit."""

from typing import Any

from hypothesis import strategies as st

from crd_limits import BASE, MAP_KEYS, NEEDED, OUT_OF_SHAPE, SAMPLES, Node, Steps, name_of, places, spec_with

LONGEST_LIST = 3
KEYS = ("team", "example.com/team", "a.b", "A", "neuron-serving.dev/model", "a b", "a..b/c", "é", "x" * 63, "x" * 64)
RESOURCE_KEYS = ("cpu", "memory", "ephemeral-storage", "aws.amazon.com/neuron")
TEXTS = (
    "a", "v", "app", "http", "-a", "a-", "a..b", "a--b", "8080", "0", "/m", "../x", "a:b", ".", "..a", "Ä",
    "a\u00a0b", "漢字🙂", "", OUT_OF_SHAPE,
)  # fmt: skip
Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def specs(draw: st.DrawFn) -> Node:
    """A valid spec but for one place, at which stands anything of the type that the schema says."""
    steps, schema = draw(st.sampled_from(list(places())))
    return spec_with(steps, {**BASE, **draw(values(schema, steps))} if not steps else draw(values(schema, steps)))


@st.composite
def wrong_specs(draw: st.DrawFn) -> Node:
    """A valid spec but for one place, at which stands anything at all."""
    steps, _ = draw(st.sampled_from([place for place in places() if place[0]]))
    return spec_with(steps, draw(Json))


def values(schema: Node, steps: Steps) -> st.SearchStrategy[Any]:
    """What may stand there: of the type that the schema says, and now and then beyond a limit of it."""
    kind = schema.get("type")
    if kind == "object":
        return objects(schema, steps) if "properties" in schema else maps(schema, steps)
    if kind == "array":
        return st.lists(values(schema["items"], (*steps, 0)), max_size=LONGEST_LIST)
    if kind == "boolean":
        return st.booleans()
    if kind == "integer":
        low, high = schema.get("minimum", 1), schema.get("maximum", 24)
        return st.integers(low, high) | st.sampled_from([low - 1, low, high, high + 1])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return texts(schema, steps) | st.integers(0, 99_999) if kind is None else texts(schema, steps)


@st.composite
def objects(draw: st.DrawFn, schema: Node, steps: Steps) -> Node:
    """Whatever is needed, and some of the rest; of several things of which one is needed mostly one."""
    properties = schema["properties"]
    chosen = {draw(st.sampled_from(group)) for group in NEEDED if group[0] in properties}
    rivals = {name for group in NEEDED for name in group if name in properties} - chosen
    needed = {*schema.get("required", ()), *chosen}
    others = draw(st.sets(st.sampled_from(sorted(properties)), max_size=4))
    if draw(st.integers(0, 9)):
        others -= rivals
    return {name: draw(values(properties[name], (*steps, name))) for name in sorted(needed | others)}


def maps(schema: Node, steps: Steps) -> st.SearchStrategy[Node]:
    keys = st.sampled_from(RESOURCE_KEYS if name_of(steps) in MAP_KEYS else KEYS)
    return st.dictionaries(keys, values(schema["additionalProperties"], (*steps, "")), max_size=LONGEST_LIST)


def texts(schema: Node, steps: Steps) -> st.SearchStrategy[str]:
    usual = st.just(str(SAMPLES.get(name_of(steps), "1" if "type" not in schema else "a")))
    shaped = st.text(max_size=20) if "pattern" not in schema else st.from_regex(schema["pattern"], fullmatch=True)
    fitting = shaped.map(str).filter(lambda text: len(text) <= schema["maxLength"])
    return usual | usual | fitting | st.sampled_from(TEXTS)
