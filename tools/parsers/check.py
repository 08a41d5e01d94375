#!/usr/bin/env python3
"""Reads stanzas from standard input, one JSON object a line, with libexpat, and compares each with our tree of it.

A line has `what` (sent or rendered), `from` (a test or a folder of the corpora), `xml` (a whole stream) and `tree`, which is
[namespace, name, [[namespace, name, value] ...], [text or tree ...]]. Prints one line for each kind, `same` or `other`, how many
there were, and of the first that differs what it was. How many of them differ is the exit code, 100 at most.
"""

import json
import sys
from xml.parsers import expat

# XML has no such character, so that no namespace has it.
SEPARATOR = "\x0c"


def split(name):
    namespace, _, local = name.rpartition(SEPARATOR)
    return namespace, local


def read(text):
    """The first element inside the root."""
    root = ["", "", [], []]
    path = [root]

    def start(name, attributes):
        attributes = sorted([*split(attribute), value] for attribute, value in attributes.items())
        element = [*split(name), attributes, []]
        path[-1][3].append(element)
        path.append(element)

    def data(characters):
        inside = path[-1][3]
        if inside and isinstance(inside[-1], str):
            inside[-1] += characters
        else:
            inside.append(characters)

    def refuse(*_):
        raise ValueError("something that XMPP forbids")

    parser = expat.ParserCreate("utf-8", SEPARATOR)
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = data
    parser.CommentHandler = parser.ProcessingInstructionHandler = parser.StartDoctypeDeclHandler = refuse
    parser.Parse(text.encode(), True)
    (stream,) = root[3]
    (stanza,) = (inside for inside in stream[3] if not isinstance(inside, str))
    return stanza


def ordered(tree):
    if isinstance(tree, str):
        return tree
    return [tree[0], tree[1], sorted(tree[2]), [ordered(inside) for inside in tree[3]]]


def main():
    counts, first, wrong = {}, {}, 0
    for line in sys.stdin:
        case = json.loads(line)
        kind = f"{case['what']} {case['from']}"
        counts[kind] = counts.get(kind, 0) + 1
        try:
            found = read(case["xml"])
        except (expat.ExpatError, ValueError) as error:
            found = str(error)
        if found != ordered(case["tree"]):
            wrong += 1
            first.setdefault(kind, f"{json.dumps(case)} is to it {json.dumps(found)}")
    for kind, count in sorted(counts.items()):
        print("other" if kind in first else "same", kind, count, first.get(kind, ""))
    return min(wrong, 100)


if __name__ == "__main__":
    sys.exit(main())
