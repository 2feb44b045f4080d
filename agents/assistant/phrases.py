"""The phrases that the router understands, as data: each act with the pattern of its phrases.

A phrase is a regular expression over a whole lower-case message without polite words and final punctuation.
`{these}`, `{cart}` and `{n}` stand for the entries of `PARTS`; the group `what` is the object of the act. The first
match counts.
"""

import re
from functools import cache

from bundlewise.agents.assistant.conversation import Act
from bundlewise.agents.assistant.mentions import COUNTS, ORDINALS
from bundlewise.agents.assistant.money import NUMBER_WORDS, TENS
from bundlewise.agents.assistant.wishes import OVER, UNDER

PARTS = {
    "these": r"(?:all of (?:this|these|them|it)|all|both|everything|them|these|those|this|that|it|my (?:things|stuff)"
    r"|(?:(?:the|my|these|those) )?(?:cart|basket|bag|products|items|things))",
    "cart": r"(?:(?:the|my) )?(?:cart|basket|bag)",
    "bundle": rf"(?:the |this )?(?:bundle(?: number| no\.?)? ?#?(?:[0-9]{{1,2}}|{'|'.join(COUNTS)})|"
    rf"(?:{'|'.join(ORDINALS)}) bundle)",
    "of_bundles": r"(?:(?:the|this|that|my|all|any|these) )?(?:bundles?|sets?)(?: [0-9]{1,2})?",
    "n": rf"(?P<n>[0-9]{{1,2}}|{'|'.join(COUNTS)}|a couple of|a pair of)",
}

THANKS = r"(?:thanks|thank you|thx|cheers|great|perfect|nice|awesome|cool|ok|okay|got it|lovely|excellent|wonderful)"

PHRASES: tuple[tuple[Act, str], ...] = (
    (
        "help",
        r"help(?: me)?|what can (?:you|i) (?:do|say|ask).*|how does (?:this|it) work|commands|examples|how to use .*",
    ),
    ("greet", r"(?:hi|hello|hey|good (?:morning|afternoon|evening)|howdy)(?: there| assistant)?"),
    (
        "thanks",
        rf"{THANKS}(?:[ ,.!]+(?:{THANKS}|so much|very much|a lot|a bunch|again|you|job|work|one|bot|assistant"
        r"|bye|goodbye|good|to know|(?:that|this|it)(?:'s| is| was)? (?:all|great|helpful|perfect|nice|good"
        r"|fine|enough)|(?:that|this|it|which) (?:helps|helped|works|worked)|well"
        r"|for (?:that|this|it|everything|helping(?: me)?|(?:(?:all )?(?:the|your) )?help)))*",
    ),
    ("undo", r"undo(?: (?:that|it|this|the last (?:one|step|change)))?|revert|go back|take (?:that|it) back|oops"),
    (
        "clear",
        r"(?:clear|empty|reset)(?: {these})?|start (?:over|again|from scratch|anew)|new {cart}"
        r"|(?:remove|delete|drop) (?:everything|all(?: (?:of (?:them|it)|items|products))?)(?: (?:from"
        r"|in|out of) {cart})?",
    ),
    (
        "show",
        r"(?:show|list|view|see|display|open|check)(?: me)?(?: what(?:'s| is) in)? {cart}(?: please)?|{cart}"
        r"|what(?:'s| is)?(?: there)? in {cart}(?: now)?|what (?:do i|have i)(?: have| got)?(?: so far"
        r"| now| in {cart})?"
        r"|how much (?:is|are|does|do|would|will) {these}(?: all)?(?: be| cost| come to)?(?: together| in total)?"
        r"|(?:what(?:'s| is) )?the total|total",
    ),
    (
        "free",
        r"(?:drop|remove|forget|lift|clear|reset|cancel)(?: (?:the|all|my|any))?(?: (?:size|price|budget))? "
        r"(?:limits?|constraints?|filters?|budget|wishes)|(?:no|without) (?:limits?|constraints?|budget)"
        r"|any (?:size|price)",
    ),
    (
        "include",
        r"(?:put|bring|take|add) (?P<what>.+?) back(?: in)?|(?:include|use) (?P<what2>.+?) again"
        r"|with (?P<what3>.+?) again|(?:put|bring) back (?P<what4>.+)",
    ),
    (
        "bundle",
        r"(?:re-?)?(?:bundle|group|combine|package|sort|match)(?: up)?(?: {these})?(?: together| up)?"
        r"(?: (?:into|in|as) (?:bundles|groups|sets))?(?: again)?"
        r"|(?:make|find|create|build|suggest|recommend|propose|show|give|get|see|offer)(?: me)?(?: (?:some|the|my"
        r"|a|new|any|your))? "
        r"(?:bundles?|groups|sets|combos?)(?: (?:from|of|out of|for|with|in) {these})?(?: again)?"
        r"|(?:what|which|any)(?: (?:good|nice))? (?:bundles?|sets|combos?)(?: .*)?|(?:my |the )?bundles"
        r"|(?:(?:what|which)(?: of (?:these|them|those)| ones| products| things| items)?"
        r"|(?:do|would|could|will) {these}) (?:go|goes|belong|belongs|fit|fits|work)(?: well| best| nicely)? together"
        r"|put (?:{these}(?: all)? )?together"
        r"(?: (?:(?:in|into|as) )?(?:a|an|one|some|the|my)? ?(?:bundles?|groups?|sets?))?"
        r"|put {these}(?: all)? (?:in|into) (?:(?:a|one|some) )?(?:bundles?|groups?|sets?)"
        r"|how would you (?:bundle|group) .*|try again|again|bundle",
    ),
    (
        "explain",
        r"why(?: not)?(?: (?P<what>(?:is|are|do|did|does|this|that|these|those|the|bundle|number|would"
        r"|have|it|[0-9]).*))?"
        r"|explain(?: (?P<what2>.+))?|how come(?: (?P<what3>.+))?|(?:what|which) (?:knowledge|evidence"
        r"|reasons?)(?: .*)?"
        r"|(?:tell me why|what makes you (?:think|say) so|reasons?|what is (?:this|it) based on)(?: .*)?"
        r"|why (?P<what4>.+ together)"
        r"|(?:show|open|view|see|describe|tell me)(?: me)?(?: more)?(?: about)? (?P<what5>{bundle})"
        r"|what(?:'s| is) in (?P<what6>{bundle})|what makes (?P<what7>{bundle})(?: .*)?"
        r"|i (?:like|love|prefer) (?P<what8>{bundle})|(?P<what9>{bundle})",
    ),
    (
        "complete",
        r"(?:(?:find|show|get|give|is there|do you have|i want|i need|i would like|(?:i'm )?looking for)(?: me)? )?"
        r"(?:(?:what|anything|something|products?|things?|accessories)(?: (?:else|products?|things?))?"
        r"|which(?: [a-z-]+){0,3})(?: (?:that|which))?"
        r" (?:goes|go|to go|would go|fits|would fit|pairs|works|matches)(?: well| best)?(?: together)?"
        r" with (?P<what>.+)"
        r"|(?:what|anything) else(?: (?:do i need|should i (?:buy|get|add|take)|would (?:you (?:add"
        r"|suggest|recommend)|fit)"
        r"|could i (?:add|buy|get)|(?:goes|fits)))?(?: (?:with|for) (?P<what2>.+))?"
        r"|complete (?P<what3>.+)|(?:what|(?:is (?:there )?)?anything(?: else)?)(?: am i|'s| is)? missing"
        r"|(?:do|will|would) i need (?:anything|something)(?: else)?(?: (?:with|for) (?P<what7>.+))?"
        r"|what (?:do|would|can) you (?:suggest|recommend)(?: (?:with|for|to go with) (?P<what8>.+))?"
        r"|(?:suggest|recommend)(?: me)?(?: (?:something|anything|products|more|some more|accessories"
        r"|things|one more))?"
        r"(?: (?:to go|that goes|that go|which goes))?(?: (?:with|for|to) (?P<what4>.+))?"
        r"|(?:accessories|add-?ons|extras) (?:for|to) (?P<what5>.+)|what (?:matches|suits) (?P<what6>.+)",
    ),
    (
        "exclude",
        r"(?:take|remove|drop|leave|keep|throw|kick|get rid of|delete) (?P<what>.+?) (?:out of|from|off) {of_bundles}"
        r"|(?:don't|do not|never) (?:include|use|bundle|take|put) (?P<what2>.+?)(?: (?:in|into|with) .*)?"
        r"|i (?:don't|do not) (?:want|need) (?P<what3>.+?) in {of_bundles}",
    ),
    (
        "remove",
        r"(?:remove|delete|drop|take out|take away|get rid of|throw (?:out|away)|discard|kick out)"
        r" (?P<what>.+?)(?: (?:from|out of|in) {cart})?|take (?P<what2>.+?) (?:out|away|off)(?: of)?(?: {cart})?"
        r"|i (?:(?:don't|do not)(?: really)?|no longer) (?:want|need) (?!to |.*\bbundle)(?P<what3>.+?)"
        r"(?: any ?more| any longer| after all)?",
    ),
    (
        "exclude",
        r"(?:(?:bundle|group)(?: {these})? |the same |same |everything |all )?(?:but |and )?"
        r"(?:without|excluding|exclude|except(?: for)?|leave out|leaving out|skip|ignore|minus|not) (?P<what>.+?)"
        r"(?: (?:from|in) (?:the )?bundles?)?|leave (?P<what2>.+?) out(?: of .*)?",
    ),
    (
        "add",
        r"(?:add|put|throw in|include|place) (?P<what>.+?)(?: (?:to|in|into|on) {cart}| in)?"
        r"|add to {cart} (?P<what2>.+)",
    ),
    (
        "search",
        r"(?:find|search|search for|look for|look up|looking for|browse|show|see|list|suggest|recommend"
        r"|do you (?:have|sell|carry)|have you got"
        r"|is there|are there|got|got any|any|where (?:are|is)|i(?:'m| am)(?: am)? looking for|i am after|which|what) "
        r"(?:me )?(?:for )?(?:some |any |a |an |the )?(?P<what>.+)",
    ),
)
"""The acts and their phrases, in the order of the search."""

SOFT = (
    r"(?:i(?:'ll| will)?(?: also)? (?:take|want|need|buy|like)|i(?:'d| would) like|get me|give me|get|buy|take"
    r"|grab|order|i choose|choose|pick"
    r"|need|want) (?:some |any |a |an )?(?P<what>.+)"
)
"""Wishes for a product: they add a product of the last list, or else search for one."""
LISTS = (
    r"(?:(?:bundle|group|combine)(?: up)?|i have|i(?:'ve| have) got|i bought|i(?:'m| am) buying"
    r"|{cart}(?: is| has| holds| contains)?"
    r"|here(?:'s| is| are)(?: {these}| (?:the|my) list)?|(?:the )?(?:list|products|items)(?: are| is)?|in {cart}"
    r"|add|find bundles (?:in|for|among))\s*:?\s*(?P<what>.+)"
)
POLITE = (
    r"^(?:(?:please|pls|ok|okay|now|then|so|and|also|(?:hey|hi|hello)(?: there)?|good (?:morning|afternoon|evening)"
    r"|well|yes|yeah|yep|sure|alright|no(?=,)|great|nice|cool|perfect|awesome|lovely|excellent|got it|thanks|thank you"
    r"|thx|cheers|let's|lets|let me|can you"
    r"|could you|would you|will you"
    r"|can i|could i|may i|i (?:want|need)(?: you)? to|i(?:'d| would) (?:like|love)(?: you)? to|go ahead and"
    r"|just(?! [0-9]| one| two| three| four)"
    r"|help me(?: to)?|kindly|maybe|hmm+|um)\b[,!.]*\s*)+"
)
"""Polite words before a request."""
LAST_POLITE = re.compile(r"\s*,?\s*\b(?:please|pls|for me|thanks|thank you|now|then|today|instead|thx)$")
LONGEST_COURTESY = 20
"""The number of characters at the end of a message to search for polite words."""
NEXT = r"(?:\s*[,;.]\s*(?:and\s+|then\s+|but\s+)*|\s+(?:and then|and|then|but)\s+)"
STARTS = (
    r"(?=(?:add|remove|delete|drop|bundle|group|find|search|show|clear|empty|undo|explain|why|what"
    r"|make|create|put|leave|without"
    r"|only|exclude|suggest|complete|recommend|start|at most|under|take)\b)"
)
ANYTHING = (
    r"(?:(?:show me|give me|find me|find|i want|i need|make it|keep it|keep them|it should be|make them|but|only)\s*)*"
)
ANYTHING += r"(?:something|anything|some|it|them|ones?|things?|stuff|all)?(?: else)?"
BUNDLED = (
    r"(?:(?:all|each|every|the|keep|make|only|show|show me|find|find me|no|my)\s*)*bundles?(?: "
    r"(?:that|which|to be|must|should|are|be|cost|costs|is))*"
)
PRODUCTS = r"(?:(?:all|any|some|only|show|show me|find|find me|the|which|what) )*(?:products?|items?|things?)"
REWRITTEN = (
    (r"(?:replace|swap|exchange) (?P<a>.+?) (?:with|for|by) (?P<b>.+)", r"remove \g<a> and find \g<b>"),
    (
        r"i (?:have|(?:have )?got|bought|own|ordered) (?:a |an |the |my |some )?(?P<a>.+?)"
        r"(?: yesterday| today| already| recently)?\s*[,.;]?(?: and| so)? (?:what|which|anything|something)"
        r" (?:else )?(?:goes|go|would go|fits|works|pairs|matches)"
        r"(?: well| best)? with (?:it|this|that|them|these|those)",
        r"what goes with \g<a>",
    ),
    (
        r"i (?:have|(?:have )?got|bought|own) (?:a |an |the |my )?(?P<a>(?![$\u20ac\u00a30-9]).+?)(?:,| and|, and) "
        r"(?:i )?(?:need|want|am looking for) (?:a |an |some )?(?P<b>.+)",
        r"find \g<b> for \g<a>",
    ),
    (
        r"(?:find|show)(?: me)? (?:at least|at most|up to|exactly)? ?[0-9]{1,2} (?P<a>items|products|things)"
        r" (?P<b>(?!in|per|each|a bundle).+)",
        r"find \g<a> \g<b>",
    ),
)
"""Patterns of sentences, and the equivalent sentences in the words of the phrases."""
TALK = frozenset(
    {"no", "nope", "yes", "yeah", "stop", "go", "going", "on", "more", "less", "only", "just", "max", "min", "maximum"}
    | {"minimum", "than", "over", "under", "below", "above", "at", "least", "most", "up", "back", "next", "previous"}
    | {"continue", "wait", "never", "mind", "right", "wrong", "good", "fine", "what", "which", "why", "not", "another"}
    | {"show", "other", *COUNTS}
)
"""Words that alone do not name a product."""
GOING_ON = frozenset({"what", "which", "why", "how", "where", "when", "need", "want", "find", "show"})
"""First words of a part of a list that belongs to the sentence."""
MEASURES = frozenset({"meter", "meters", "metre", "metres", "feet", "foot", "inches", "watt", "watts", "volt", "volts"})
"""Units that shoppers and titles may spell differently."""
SPOKEN = (
    r"(?:i(?:'m|'d|'ll|'ve)|i (?:am|need|want|have|like|would|was|will|think|bought|do|don't|just|also|only)"
    r"|(?:do|does|is|are|can|could|would|will) (?:you|these|those|they|i|it|this|that|there)|please|thanks|we"
    r"|my [a-z]+ (?:is|are|was))\b.*"
    r"|(?:what|which|how|why|where|when|who)\b.*\?"
)
"""A line of a message that is a sentence rather than a product."""
QUESTIONS = frozenset(
    {"who", "when", "how", "tell", "write", "say", "print", "ignore", "forget", "repeat", "translate", "you", "your"}
    | {"i", "me", "prompt", "instructions", "cart", "basket", "is", "are", "was", "will", "can", "do", "does", "don't"}
)
"""Words that show that a message is not the name of a product."""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a phrase as a regular expression."""
    for name, part in PARTS.items():
        pattern = pattern.replace(f"{{{name}}}", part)
    return re.compile(pattern)


@cache
def lexicon() -> frozenset[str]:
    """Return all words of the phrases."""
    return meant() | NUMBER_WORDS | _words_of(UNDER, OVER, POLITE, LAST_POLITE.pattern, dict(PHRASES)["thanks"])


@cache
def meant() -> frozenset[str]:
    """Return the words that a typing slip may be corrected to; polite words are left out, so `cook` stays `cook`."""
    sources = [pattern for name, pattern in PHRASES if name != "thanks"]
    sources += [SOFT, LISTS, STARTS, *PARTS.values(), ANYTHING, BUNDLED]
    sources += [
        "under below cheaper less than most least only exactly items products pairs per each between smaller fewer",
        *TENS,
    ]
    return _words_of(*sources)


def _words_of(*patterns: str) -> frozenset[str]:
    return frozenset(word for pattern in patterns for word in re.findall(r"[a-z]{3,}", pattern.replace("\\b", " ")))
