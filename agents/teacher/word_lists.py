"""Lists of general words: words for products in general, words with several meanings, and English about shopping."""

ROOT = 5
"""The number of first letters that two words with one root share; camera and camcorder share fewer."""


def set_of(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


def same_root(one: str, other: str) -> bool:
    """Say whether two words have one root, or one word is a compound that ends or begins with the other."""
    short, long = sorted((one, other), key=len)
    return short == long or (len(short) >= ROOT - 1 and short in long) or short[:ROOT] == long[:ROOT]


FREE = set_of("""
    accessory apparel assortment audio bag bar base basket beverage bite blend board body bottle bottom box brand
    bread bulk bundle cake camera can candy care case chocolate clear clothe clothing collection color colour
    component computer condiment connector control core cover cup desktop dessert device disc dish display dress
    drink drive drop electronic equipment filling film fit flash flavor flavour food footwear form fruit game
    garment gear gift glass grain group handle head holder home hosiery household ingredient interface item
    jewelry kind kit kitchen label laptop light line lingerie link machine maker match material meal meat media
    mix model module mount music nut network office one other outfit pack pair part pc peripheral phone photo piece
    plain plant plug pod point pouch powder power product protection protector purpose rack reader ready rest ring
    sauce screen seasoning seed series server session set setup shirt shoe shopper short side size sleepwear slip
    snack sound spice sport spread stand staple starter stay stick storage style sugar suit supplement supply
    sweet sweetener swimwear system tablet theme thing tight tool top topping toy travel treat treatment tv two
    type underwear unit use variety vegetable version video way wear work
""")
"""Words for products in general, and words with other meanings; such a word alone does not name a product."""

SHELVES = set_of("""
    bag beverage bottle bread cake camera candy chocolate computer costume dessert desktop dress drink
    fruit hosiery jewelry laptop lingerie meat nut pc phone pouch protector sauce seafood seasoning seed shirt shoe
    sleepwear snack spice sugar supplement sweetener swimwear tablet toy tv underwear vegetable
""")
"""Words of `FREE` that mean one group of products only; they are foreign if the data contain no such products."""

QUALIFIERS = set_of("""
    accessory apparel assortment base bite blend board body brand bulk bundle care clear clothing collection color
    colour component device display electronic equipment fit flavor flavour food form gear group home household
    ingredient item kind kit kitchen label light line link match material media mix model module network office one
    other pack pair part peripheral photo piece plain point power product protection purpose range ready session set
    setup side size sound sport staple storage style supply sweet system theme thing topping treat treatment two type
    unit use variety version way work
""")
"""Words for the properties or the use of a product; with another plain word they do not name a product."""

ORDINARY = set_of("""
    about after all also although and annotation another any are as at be because before both but buyer by cents
    common costs could day difference dollar dollars each either else euro euros every everything few first for
    from goal goes good half has have idea in intent is it its job just last left less lesson little make many may
    more most need needed never next no none nor not nothing number of off on only or order others out over own
    people person price reason same second shared shop shopping single so some such than that the their them then
    there these they third this those three title titles to together too under up used very want was well were
    what when where which while who whole whose why will with without would year
""")
"""Ordinary words that a text about any session may use."""
AT_LARGE = set_of("""
    activewear add-in add-on additive adornment adult anchor apparatus appliance assembly attachment breakfast
    caffeine citrus confection confectionery container costume covering cuisine dairy decoration diet dinner
    dressing fabric female flavouring footage furniture gadget grocery hardware insert internet jewellery
    kitchenware knitwear layer leaf liquid lounge lunch male merchandise metal motif neckwear nightwear
    ornament outerwear output overlapping package packing paste picture platform plating print prop protein
    recording refill refreshment regalia rig seafood serving sizing socket sportswear starch stocking stone
    store strap substance surface textile thread thus tie timepiece transport undergarment uniform vehicle
    wall wardrobe water wearable wiring workwear
""")
"""Words for things that mean whole groups of products, or how products are made, worn and used."""

GOODS = set_of("""
    adjuster album amp backdrop battery biscotti bodysuit booster bracket brush calibrator cami caramel cereal
    chestnut chip choker chopper cooktop dehumidifier deodorizer dongle earbud enclosure extender farro frother
    ginger goggle gochujang handset headset heatsink hoodie jean jegging jerky jersey keycap keychain kimchi
    kombucha laminator lehenga loafer matcha mic microphone monitor motherboard mouthguard multimeter necktie
    olive onesie organizer pajama pedalboard pendant player polo printer quinoa remote romper scanner scrunchy
    shapewear shaver siren skort smartphone smartwatch soundbar speaker splitter ssd subwoofer sweatpant t-shirt
    shorts tee teleprompter tights touchpad trackpad tracksuit transceiver transmitter turntable wetsuit
""")
"""Words for goods that WordNet's list of things lacks, because they are new or have another main meaning."""
