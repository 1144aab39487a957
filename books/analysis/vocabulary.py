"""Word lists of the classical analyst: titles, first names, and capitalised words that are no names.

Data only. All sets hold lower-case words unless the name says otherwise.
"""


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


MALE_TITLES = word_set(
    """
    mr sir lord king prince duke count baron earl emperor uncle father brother monsieur m herr signor
    señor senor don master mister abbé abbe friar squire
    """
)
FEMALE_TITLES = word_set(
    """
    mrs miss ms lady queen princess duchess countess baroness empress aunt mother sister madame mme madam
    mademoiselle mlle frau fräulein signora signorina señora senora señorita donna dame mistress
    """
)
NEUTRAL_TITLES = word_set(
    """
    dr doctor professor prof colonel col captain capt major general gen lieutenant lieut lt sergeant sgt
    inspector detective constable judge justice reverend rev bishop cardinal pope president senator
    governor chancellor commander admiral saint dean agent officer corporal private comrade
    """
)
TITLES = MALE_TITLES | FEMALE_TITLES | NEUTRAL_TITLES
# After these a given name may stand alone: "Sir George", but never "Mr. George" for George Smith.
GIVEN_NAME_TITLES = word_set(
    """
    sir lady lord king queen prince princess uncle aunt father mother brother sister miss don donna master
    saint duke emperor empress dame friar
    """
)


def is_title(word: str) -> bool:
    return all(part in TITLES | {"vice", "under"} for part in word.rstrip(".").lower().split("-"))


TITLE_SHORT_FORMS = {
    "doctor": "Dr.",
    "dr": "Dr.",
    "mister": "Mr.",
    "mr": "Mr.",
    "mrs": "Mrs.",
    "ms": "Ms.",
    "prof": "Professor",
    "col": "Colonel",
    "capt": "Captain",
    "gen": "General",
    "lieut": "Lieutenant",
    "lt": "Lieutenant",
    "sgt": "Sergeant",
    "rev": "Reverend",
    "m": "M.",
    "mme": "Mme.",
    "mlle": "Mlle.",
}
PARTICLES = word_set(
    """
    de del della di da du des von van der den la le el al bin ibn ten ter mac
    """
)

ABBREVIATIONS = word_set(
    """
    mr mrs ms dr prof st sr jr col capt gen lieut lt sgt maj rev hon messrs mme mlle esq vol ch fig vs etc
    e.g i.e a.m p.m jan feb mar apr jun jul aug sept sep oct nov dec co ltd inc dept mt ft ave rd approx
    cf viz bros gov sen rep pres u.s u.k b.c a.d ph.d d.d z.b bzw u.a nr hr frl sra srta
    """
)

MALE_NAMES = word_set(
    """
    aaron abel abraham abram adam adolf adrian ahmed alan albert alec alejandro alessandro alexander
    alexandre alexei alexis alfonso alfred ali alistair allan allen alphonse alonzo ambrose amos andré
    andre andreas andrei andrew angelo angus anthony anton antoine antonio archibald archie arnold arthur
    asa august auguste augustus aurelio bartholomew basil ben benedict benjamin bernard bertie bertram
    bill billy bob bobby boris bradley brian bruce bruno caleb calvin carl carlo carlos casper cecil
    cedric charles charley charlie chester christian christopher clarence claude claudio clement clifford
    clive colin conrad cornelius craig cuthbert cyril damian dan daniel danny dave david denis dennis
    derek desmond dick diego dietrich dirk dmitri dominic donald dorian douglas duncan ebenezer ed eddie
    edgar edmond edmund eduard edward edwin eli elias elijah eliot emil emile emmanuel enrico eric erich
    ernest ernst erwin eugene eustace evan ezra felix ferdinand fernando fitzwilliam florian floyd francis
    francisco francois frank franklin franz fred freddy frederic frederick friedrich fritz fyodor gabriel
    gareth gary gaston gavin geoffrey george georges gerald gerard gerhard gideon gilbert giles giovanni
    giuseppe glenn godfrey gordon graham greg gregor gregory grigory guido gustav guy hamish hank hans
    harold harry harvey hector heinrich helmut henri henrik henry herbert herman hermann hilary hiram
    homer horace horatio howard hubert hugh hugo humphrey ian ignatius igor immanuel ira isaac isaiah
    isidore ishmael ivan jabez jack jackson jacob jacques jake james jamie jan jared jasper javier jay
    jean jeff jefferson jeffrey jem jeremiah jeremy jerome jerry jim jimmy joachim joe joel johann
    johannes john johnny jonah jonas jonathan jorge josé jose joseph joshua josiah juan jude jules julian
    julius jurgen karl kaspar keith ken kenneth kevin klaus konstantin kurt lars laurence laurie lawrence
    lazarus leo leon leonard leonardo leopold leroy leslie lestat lewis lionel lorenzo louis luca lucas
    lucien ludwig luigi luis luke luther malcolm manfred manuel marcel marco marcus mario mark martin
    marvin matt matteo matthew matthias maurice max maximilian maxwell melvin michael michel miguel
    mikhail miles milton mohammed montague mordecai morris mortimer moses mycroft nathan nathaniel ned
    neil nelson neville nicholas nick nicolas nigel nikolai noah noel norman octavius oliver orlando oscar
    oswald otis otto owen pablo paolo pascal patrick paul pavel pedro percival percy perry pete peter phil
    philip philippe phileas pierre pip quentin quincey raffaele ralph ramon randolph raoul raphael ray
    raymond reginald reuben rex rhett richard rob robert roberto robin rodney rodrigo roger roland rolf
    romeo ronald rory ross roy rudolf rufus rupert russell sam samson samuel sancho santiago saul sean
    sebastian septimus sergei seth seymour sherlock sidney siegfried silas silvio simon solomon spencer
    stanley stefan stephen steve steven stewart stuart sydney sylvester ted teddy terence theo theobald
    theodore theophilus thomas tim timothy tobias toby tom tommy tony tristan tybalt ulrich umberto uriah
    valentin valentine vernon victor vincent virgil vladimir wallace walter warren wayne werner wilbur
    wilfred wilhelm will willem william willie wolfgang yuri zachary
    """
)
FEMALE_NAMES = word_set(
    """
    abigail ada adela adelaide adele adeline agatha agnes alexandra alice alicia alina alison alma althea
    amanda amelia amy ana anastasia andrea angela angelica angelina anita ann anna annabel anne annette
    annie antonia antonietta arabella ariadne audrey augusta aurelia aurora barbara bathsheba beatrice
    beatrix becky bella bernadette bertha bess bessie beth betsy betty beverley bianca blanche brenda
    bridget brigid camilla carla carmen carol carolina caroline carrie catherine catharine cecilia cecily
    celeste celia charlotte charmian chloe christina christine clara clare clarissa claudia clementine
    cleopatra constance cora cordelia cornelia cosette cynthia daisy daphne deborah delia delilah della
    denise desdemona diana dinah dolly dolores dora doris dorothea dorothy edith edna effie eileen elaine
    eleanor electra elena elisa elise eliza elizabeth ella ellen elinor elsa elsie emilia emily emma enid
    erica ernestine esmeralda estella estelle esther ethel eugenia eugenie eunice eva evangeline eve
    evelyn fanny fantine felicia felicity fiona flora florence frances francesca freda frieda gabriella
    gemma genevieve georgiana georgina geraldine gertrude gina gisela giselle gladys gloria grace greta
    gretchen griselda guinevere gwen gwendolen hannah harriet hatty hazel heather hedwig heidi helen
    helena helene henrietta hermia hermione hester hilda hortense ida imogen ines ingrid irene iris irma
    isa isabel isabella isadora ismene isolde ivy jane janet janice jeanne jemima jennie jennifer jenny
    jessica jessie jo joan joanna jocasta josephine joyce judith judy julia juliana juliet juliette julie
    justine karen kate katharina katharine katherine kathleen kathy katie katrina kitty lara laura lavinia
    leah lena leonora leila letitia lily lilian lillian linda lisa lizzie lois lola lorna lotte lottie
    louisa louise lucia lucille lucinda lucretia lucy lulu lydia lynn mabel madeleine madeline madge
    maggie magdalena maisie mamie mandy margaret margarita margery margot marguerite maria marian marianne
    marie marilyn marina marion marjorie marlene martha mary mathilde matilda maud maude maureen maya
    mercedes meg meredith mildred millicent milly mina minerva minnie mira miranda miriam moira molly mona
    monica muriel myra myrtle nadia nancy natalia natalie natasha nell nellie nelly netty nicole nina nora
    norma octavia odette olga olive olivia ophelia pamela pansy patricia paula pauline pearl penelope
    penny persis phoebe phyllis polly portia priscilla prudence rachel ramona rebecca regina rhoda rita
    roberta rosa rosalie rosalind rosamond rosaline rose rosemary rosie rowena roxana ruby ruth sabina
    sally salome samantha sara sarah selina selma serena sheila shirley sibyl silvia sofia sonia sophia
    sophie stella stephanie susan susanna susannah susie suzanne sylvia tabitha tamara tara tatiana teresa
    tess thea thelma theodora theresa therese tilly titania trudy una ursula valerie vanessa vera veronica
    victoria viola violet violetta virginia vivian wendy wilhelmina winifred yvonne zelda zoe
    """
)
FIRST_NAMES = MALE_NAMES | FEMALE_NAMES
# First names that are words as well: no evidence on their own.
WORD_NAMES = word_set(
    """
    will rose grace hope faith joy may june august dick jack mark bill rob bob frank guy grant earl ivy
    lily daisy hazel violet olive ruby pearl pansy myrtle heather iris robin jay penny ray rex art chance
    chase clay dean don drew gene max miles pat pip prudence constance patience felicity dolly dolores
    victoria virginia florence sydney aurora christian carol dawn eve constance charity amber crystal
    ginger grant hank josh jimmy kitty van norman roman solomon german ross blanche bess viola stella
    gloria regina serena ma della la una isa private general major sue wade skip summer autumn ed do al
    yours long les dirk milton nelson wayne
    """
)

NATIONALITIES = word_set(
    """
    english englishman englishmen englishwoman french frenchman frenchmen frenchwoman german germans
    italian italians spanish spaniard spaniards russian russians american americans british briton britons
    scotch scottish scotchman scotsman scots irish irishman irishmen welsh dutch dutchman swiss austrian
    austrians swede swedish norwegian dane danish greek greeks roman romans turk turks turkish arab arabs
    arabian arabic persian persians indian indians chinese chinaman japanese african africans asian
    asiatic asiatics european europeans australian australians canadian canadians mexican mexicans
    portuguese polish pole poles hungarian hungarians bohemian bohemians prussian prussians jew jews
    jewish jewess hebrew christian christians catholic catholics protestant protestants muslim muslims
    mohammedan mahometan moslem hindu hindoo buddhist quaker puritan methodist genevese parisian parisians
    londoner londoners venetian neapolitan latin saxon norman celtic gaelic gypsy gypsies gipsy gipsies
    lascar malay moor moors moorish tartar tartars californian yankee yankees negro victorian georgian
    elizabethan gothic bavarian genoese tyrolese flemish egyptian egyptians israelite roman alpine arctic
    calvinist calvinism christianity westphalian cornish devonshireman highlander highlanders
    """
)
CALENDAR = word_set(
    """
    january february march april may june july august september october november december monday tuesday
    wednesday thursday friday saturday sunday jan feb mar apr jun jul aug sept sep oct nov dec christmas
    easter michaelmas whitsun sabbath lent thanksgiving
    """
)
# Capitalised by habit, by reverence, or because they head a quotation, a letter or an institution.
NOT_NAMES = (
    NATIONALITIES
    | CALENDAR
    | word_set(
        """
    god gods heaven heavens hell lord lords almighty providence creator saviour devil satan christ jesus
    bible testament scripture gospel church state fate fortune nature death time truth love life man men
    woman women majesty highness excellency lordship ladyship honour honor grace worship holiness eminence
    royal imperial sir madam ma'am sirs gentlemen ladies gentleman lady miss mister mistress master mama
    mamma papa mother father mum dad daddy mummy mom aunt auntie uncle grandfather grandmother grandpa
    grandma sister brother baby boy girl chapter letter volume book part section page preface prologue
    epilogue contents introduction appendix note project gutenberg ebook illustration footnote the end yes
    no oh ah eh ha o thank thanks alas aye nay well hush hullo hallo hello halloa hey hi hurrah bravo
    adieu farewell welcome pray pooh tut amen good goodbye dear dearest poor old young little great grand
    big new north south east west northern southern eastern western upper lower i i'm i've i'll i'd pa ma
    it he she we you they his her its our your their my me him us them mine near after before between
    behind beneath during until while because although though upon since through beyond who what when
    where why how which whose whom that this these those there here then than and but or nor for yet so if
    as at by from in into of off on onto out over to up with without within not never ever now once also
    even such some any all each every both either neither many much more most few several other others
    another one two three four five six seven eight nine ten eleven twelve first second third hundred
    thousand a an is are was were be been being am do does did have has had can could shall should will
    would may might must let come go see look take give tell say said think know make put get keep stop
    wait listen remember is it's that's there's what's who's he's she's don't won't can't didn't isn't
    wasn't couldn't wouldn't ibid etc esq messrs junior senior jr sr ph m.d d.d b.a m.a postscript p.s nb
    science philosophy history university college school academy hospital society company parliament
    government army navy congress senate court crown throne republic empire union league association
    committee office encyclopaedia times chronicle gazette telegraph herald press magazine journal post
    daily evening morning latin greek algebra mathematics palace ltd co inc paradise sorrows lives ruins
    empires ancient mariner modern prometheus internet email www http united states
    """
    )
)

SPEECH_VERBS = word_set(
    """
    said says say cried cries asked asks answered answers replied replies remarked exclaimed whispered
    murmured muttered shouted called continued added observed returned interrupted responded gasped
    groaned sighed laughed smiled chuckled growled snapped suggested explained inquired enquired repeated
    declared begged roared sobbed screamed ejaculated insisted persisted retorted rejoined demanded
    admitted announced agreed protested sagte rief fragte antwortete meinte erwiderte dit demanda répondit
    cria dijo preguntó respondió exclamó disse rispose chiese esclamò
    """
)
PERSON_VERBS = SPEECH_VERBS | word_set(
    """
    thought felt knew looked sat rose turned nodded shrugged walked ran came went took gave held opened
    closed stood leaned threw drew lit pulled pushed glanced stared seemed wished wanted loved hated
    feared hoped believed wrote read spoke told heard saw saw tried began entered left married died wept
    listened saluted bowed appeared arrived received perceived discovered related rushed sprang has had
    would could will shall might must does did sank shook raised lay slept awoke woke recovered joined
    accompanied visited kissed embraced endeavoured quitted departed hurried followed himself herself
    """
)
KINSHIP = word_set(
    """
    friend cousin brother sister uncle aunt father mother son daughter wife husband niece nephew servant
    maid companion colleague master madame little poor dear dearest gentle sweet beloved young old lovely
    unhappy unfortunate named called miss
    """
)

PLACE_TAILS = word_set(
    """
    street road lane avenue square terrace gardens garden park bridge station place court row crescent
    hill hills mountains mountain valley lake river sea ocean bay island islands isle castle abbey
    cathedral house hall manor lodge inn hotel tavern wharf dock docks yard common forest wood moor heath
    county district city town village green gate market circus mews alley quay pier falls glacier desert
    canal creek beach harbour harbor peninsula province kingdom cross corner strand shire palace theatre
    tower prison farm grange priory pool church college university hospital school museum cemetery plains
    pass crown buildings chambers mansions boulevard rue platz strasse straße
    """
)
PLACE_HEADS = word_set(
    """
    mont mount mt lake loch lough cape river port fort isle point rue villa château chateau monte san
    santa
    """
)
ORGANISATION_TAILS = word_set(
    """
    club league bank company society association agency union committee office times chronicle gazette
    telegraph herald press magazine journal post news globe star standard britannica corporation brothers
    bros act law cup stakes prize office exchange museum hospital school college university academy
    """
)
PLACE_PREPOSITIONS = word_set(
    """
    in near at to from through towards toward into around outside inside beyond across via within
    throughout
    """
)
REGIONS = word_set(
    """
    england scotland wales britain ireland holland prussia bohemia persia bavaria saxony burgundy normandy
    brittany provence savoy lombardy tuscany piedmont flanders silesia siberia tartary crimea transylvania
    livonia hungary africa asia europe america antarctica arabia palestine judea assyria babylon
    mesopotamia constantinople petersburgh strasburgh leghorn archangel cornwall devon devonshire
    yorkshire lancashire cheshire kent sussex surrey essex norfolk suffolk hampshire berkshire wiltshire
    somerset dorset dorsetshire herefordshire hertfordshire derbyshire nottinghamshire staffordshire
    warwickshire oxfordshire cambridgeshire cumberland westmorland northumberland lincolnshire
    bedfordshire buckinghamshire gloucestershire worcestershire shropshire orkneys orkney hebrides
    shetland alps appalachians pyrenees apennines andes himalayas jura carpathians thames rhine rhone
    danube seine loire volga nile ganges amazon mississippi missouri severn tiber elbe mediterranean
    atlantic pacific baltic adriatic caspian scandinavia balkans caucasus patagonia bengal punjab peru
    mexico westminster kensington whitechapel chelsea paddington lambeth soho mayfair hampstead greenwich
    streatham croydon norwood camberwell bloomsbury holborn aldgate aldersgate clapham brixton kilburn
    islington highgate wimbledon richmond brooklyn manhattan harlem bronx queens hollywood versailles
    montmartre chamonix chamounix
    """
)
# Cities of the gazetteer whose names are words, titles or first names too often to be trusted.
CITY_COLLISIONS = (
    FIRST_NAMES - word_set("florence sydney")
    | NOT_NAMES
    | word_set(
        """
    reading nice most bath mobile sale split bar hope of same une man male tours nancy lens best ham hull
    rugby poole deal battle sandy barking police van orange union liberty enterprise commerce independence
    normal buffalo phoenix eagle bend temple laurel moss hamm essen wells rye ware goole leek march wool
    ash bury sand brest cork gay vista lake university garland salem green clay ford stone young wilson
    lincoln washington jackson madison clinton carson irving norton watson holmes baker turner hunter
    fowler spencer burton dayton allen murray warren newton preston barry bray crosby salford mason logan
    lawrence marion anderson burke troy chandler parker taylor franklin tyler cary berkeley
    """
    )
)

COMMON_WORDS = word_set(
    """
    able account across act added afternoon age ago air almost alone along already although among answer
    answered anything appear appearance appeared arm arms arrived ask asked away bad became become bed
    began begin beginning behind believe beside best better bit black blue body bring brought business
    call called came care carried case cause certain certainly chair change chapter child children
    circumstance clear close cold colour come companion coming company concern considerable course cried
    cry dark daughter day days dead deal dear death deep desire did different difficult direction discover
    distance does door doubt down draw drawn dressed during early easy effect either else end endeavour
    enough entered entirely evening event everything evident exactly expect expression extraordinary eye
    eyes face fact fall family far fast father fear feel feeling feelings feet fell felt fellow find fine
    finger fire five follow followed following foot form former found four fresh friend friends front full
    gave general gentle gentleman give given glad glance go going gone good got great green grew ground
    grow hair half hand hands happened happy hard head hear heard heart heavy held help high hold home
    hope hour hours house human hundred idea immediately indeed inside instant interest interesting just
    keep kept kind knew know known lady laid large last late later lay lead learn leave led left length
    less let letter life light like line lips little live lived long longer look looked looking lost lot
    low made make man manner mark matter mean means men mere merely met middle mile miles mind minute
    minutes miss moment moments month months morning mother mouth moved mr mrs name natural near nearly
    necessary neck need new news next night nose note nothing notice number object observed observe
    occasion old once one open opened opinion order ordinary others outside paper part particular party
    pass passed past pay people perfectly perhaps person piece place placed plain point poor position
    possible power present presently public put question quick quiet quite rather reach reached read ready
    real really reason received red regard remain remained remark remarked remarkable remember replied
    reply rest return returned right ring rise room rose round run sat save saw say says second see seem
    seemed seen sense sent serious set shook short shoulder show shown shut side sight sign simple single
    sister sit sitting six slight slowly small smile soon sort sound speak spent spirit spoke spot stand
    state stay step steps still stood stop story straight strange street strong subject such sudden
    suddenly suppose sure surprise surprised table take taken talk tell ten thing things think third
    thought thoughts thousand three threw till time times tired today together told took top touch towards
    true truth try turn turned twenty twice two understand unless use used usual view visit visitor voice
    wait walk walked wall want wanted watch way week weeks well went white whole wife window wish woman
    women wonder word words work world worth write writing wrong year years yes young youth yesterday
    tomorrow tonight upon shall therefore yet perceived return degree sir oh ah mine yours ours us whose
    whether thus hence cannot don't didn't won't can't couldn't wouldn't i'm i've i'll you're it's that's
    what's something someone somebody anybody nobody everybody sometimes always often never ever however
    remainder rendered beheld possessed scene spirits existence object latter sensation sensations corner
    side sides bottom edge centre back front pair hear set couple doubt none deal whatever glimpse
    slightest hurry moment sake favour purpose manner attempt attention course mr dr st
    """
)
