// SPDX-License-Identifier: Apache-2.0
// The vocabulary of the synthetic world. All of it is made up for this project. Rule for editing: no way of saying a
// thing may occur inside the words of another (data_world_test checks it), so that labels follow from the text alone.
#include "deploy/data/tables.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const data_value_row data_value_rows[] = {
    // colours
    {"black|ebony", ""}, {"white|ivory", ""}, {"red|crimson", ""}, {"blue|navy", ""},
    {"green|olive", ""}, {"pink|rose", ""}, {"grey|charcoal", ""}, {"brown|tan", ""},
    // materials
    {"leather|cowhide", ""}, {"suede", ""}, {"canvas", ""}, {"mesh", ""}, {"cotton", ""}, {"wool|merino", ""},
    {"linen|flax", ""}, {"polyester|poly", ""}, {"silk|satin", ""}, {"denim", ""}, {"bamboo", ""}, {"foam", ""},
    {"down|feather", ""}, {"steel|stainless|inox", ""}, {"wood|wooden|oak", ""}, {"plastic|pvc", ""}, {"glass", ""},
    {"ceramic|porcelain", ""}, {"aluminium|alu", ""}, {"iron", ""}, {"silicone", ""}, {"epoxy|resin", ""},
    {"acrylic", ""}, {"rubber|latex", ""}, {"titanium", ""},
    // features
    {"waterproof|rainproof", "keeps water out|works in rain"},
    {"insulated|thermal", "stays warm|keeps the cold out"},
    {"breathable|airy", "lets air in"},
    {"stretch|elastic", "moves with you"},
    {"reflective|hi vis", "is seen at night"},
    {"padded|cushioned", "protects from bumps"},
    {"non slip|grippy", "does not slide"},
    {"wireless|bluetooth|cordless", "needs no cable"},
    {"rechargeable|usb", "needs no batteries"},
    {"quiet|silent", "makes no noise"},
    {"foldable|folding|collapsible", "packs flat|saves space"},
    {"smart|wifi", "obeys my phone"},
    {"portable|compact", "fits in a bag"},
    {"backlit|led", "glows"},
    {"non stick", "lets eggs slip off"},
    {"dishwasher safe", "can be machine cleaned"},
    {"washable", "is easy to clean"},
    {"blackout|opaque", "blocks the sun"},
    {"cooling", "stays cool"},
    {"weighted", "helps me sleep"},
    {"hypoallergenic", "suits allergies"},
    {"heavy duty|rugged", "lasts for years"},
    {"magnetic", "holds screws"},
    {"quick dry|fast drying", "dries in minutes"},
    {"weatherproof", "can stay outside"},
    {"chew proof", "survives teeth"},
    {"adjustable", "fits any size"},
    // beauty, food
    {"moisturizing|hydrating", "helps dryness"},
    {"volumizing", "adds body"},
    {"soothing|calming", "calms redness"},
    {"strengthening", "reduces hair loss"},
    {"matte", "hides shine"},
    {"long lasting", "holds all day"},
    {"vegan", "spares animals"},
    {"organic|bio", "avoids pesticides"},
    {"fragrance|scent", ""}, {"alcohol|ethanol", ""}, {"sulfate|sls", ""}, {"paraben", ""}, {"menthol", ""},
    {"sugar|syrup", ""}, {"gluten|wheat", ""}, {"nuts|almonds", ""}, {"dairy|milk", ""}, {"salt|sodium", ""},
    {"caffeine", ""},
    {"vanilla", ""}, {"cocoa", ""}, {"berry|raspberry", ""}, {"lemon|citrus", ""}, {"mint", ""}, {"ginger", ""},
    {"grain|cereals", ""}, {"chicken|poultry", ""}, {"salmon", ""}, {"beef", ""},
    // for whom, how much
    {"men|mens", "suits my husband"}, {"women|ladies", "suits my wife"}, {"kids|children", "suits my son"},
    {"50 ml|50ml", ""}, {"200 ml|200ml", ""}, {"1 l|1000 ml", ""},
    {"100 g|100g", ""}, {"500 g|half kilo", ""}, {"1 kg|1000 g", ""},
    {"30 cm|30cm", ""}, {"1 m|100 cm", ""}, {"2 m|200 cm", ""},
};
const size_t data_n_value_rows = COUNT(data_value_rows);

const data_type_row data_type_rows[] = {
    {"colour", "ed", "black,white,red,blue,green,pink,grey,brown"},
    {"cloth", "ed", "leather,suede,canvas,mesh,cotton,wool,linen,polyester,silk,denim"},
    {"bedding", "ed", "cotton,wool,linen,polyester,silk,bamboo,foam,down"},
    {"hard", "ed", "steel,wood,plastic,glass,ceramic,aluminium,iron,bamboo"},
    {"compound", "ed", "steel,silicone,epoxy,acrylic,rubber,titanium,wood"},
    {"wear", "", "waterproof,insulated,breathable,stretch,reflective,padded,non slip"},
    {"carry", "", "waterproof,reflective,padded,foldable,portable,adjustable"},
    {"device", "", "wireless,rechargeable,quiet,foldable,smart,portable,backlit"},
    {"cook", "", "non stick,dishwasher safe,insulated,quiet,portable,non slip"},
    {"home", "", "washable,blackout,cooling,weighted,hypoallergenic,non slip"},
    {"work", "", "wireless,heavy duty,magnetic,quick dry,foldable,rechargeable,waterproof"},
    {"outdoor", "", "weatherproof,foldable,heavy duty,portable,adjustable"},
    {"animal", "", "washable,chew proof,reflective,adjustable,heavy duty"},
    {"effect", "", "moisturizing,volumizing,soothing,strengthening,matte,long lasting"},
    {"claim", "", "vegan,organic"},
    {"ingredient", "di", "fragrance,alcohol,sulfate,paraben,menthol"},
    {"food", "di", "sugar,gluten,nuts,dairy,salt,caffeine"},
    {"flavour", "ed", "vanilla,cocoa,berry,lemon,mint,ginger"},
    {"meat", "ed", "chicken,salmon,beef"},
    {"filler", "di", "grain"},
    {"audience", "e", "men,women,kids"},
    {"volume", "e", "50 ml,200 ml,1 l"},
    {"weight", "e", "100 g,500 g,1 kg"},
    {"length", "e", "30 cm,1 m,2 m"},
};
const size_t data_n_type_rows = COUNT(data_type_rows);

const data_property_row data_property_rows[] = {
    {"heat proof", "withstands heat|does not melt", "steel,ceramic,glass,silicone,epoxy,iron,titanium"},
    {"rust proof", "never rusts|does not corrode", "plastic,ceramic,glass,aluminium,titanium,bamboo,rubber,silicone"},
    {"drop proof", "survives a fall|does not shatter", "steel,plastic,aluminium,rubber,titanium,iron"},
    {"plant made", "comes from plants", "cotton,linen,canvas,denim,bamboo,wood,rubber"},
    {"animal made", "comes from animals", "leather,suede,wool,silk,down"},
    {"winter ready", "suits winter", "wool,down,insulated,leather"},
    {"summer ready", "suits summer", "linen,mesh,breathable,cooling,bamboo"},
    {"rain ready", "survives a storm", "waterproof,weatherproof,plastic,rubber"},
    {"travel ready", "travels well", "foldable,portable"},
    {"flexible", "bends easily", "silicone,rubber,stretch,mesh,foam"},
    {"conductive", "conducts power", "steel,aluminium,iron,titanium"},
    {"kind to skin", "is kind to skin", "moisturizing,soothing,hypoallergenic,silk"},
    {"eco", "is good for the planet", "organic,vegan,bamboo,linen"},
    {"night ready", "helps in the dark", "reflective,backlit"},
    {"plug free", "works off grid", "rechargeable,wireless"},
    {"durable", "takes abuse", "heavy duty,chew proof,steel,titanium,leather"},
};
const size_t data_n_property_rows = COUNT(data_property_rows);

#define SHOE "colour,cloth,wear,audience"
#define WEAR "colour,cloth,wear,audience"
#define BAG "colour,cloth,carry,audience"
#define CARE "ingredient,effect,claim,volume"
#define MAKEUP "colour,ingredient,effect,claim"
#define COOK "colour,hard,cook"
#define SLEEP "colour,bedding,home"
#define DECOR "colour,hard,length"
#define TECH "colour,device"
#define TOOL "compound,work"
#define YARD "colour,hard,outdoor"
#define PET "colour,cloth,animal"
#define FEED "meat,filler,claim,weight"
#define SPORT "colour,compound,carry"
#define DRINK "food,flavour,claim,weight"

const data_leaf_row data_leaf_rows[] = {
    {"shoes", "running shoes|joggers", SHOE}, {"shoes", "boots", SHOE}, {"shoes", "sandals|flip flops", SHOE},
    {"shoes", "sneakers|trainers", SHOE}, {"shoes", "slippers", SHOE}, {"shoes", "loafers", SHOE},
    {"shoes", "heels|pumps", SHOE},
    {"shoes", "clogs", SHOE},
    {"clothing", "shirt|tee", WEAR}, {"clothing", "jacket|coat", WEAR}, {"clothing", "trousers|pants", WEAR},
    {"clothing", "dress|gown", WEAR}, {"clothing", "sweater|pullover", WEAR}, {"clothing", "shorts", WEAR},
    {"clothing", "socks", WEAR}, {"clothing", "gloves|mittens", WEAR},
    {"bags", "backpack|rucksack", BAG}, {"bags", "handbag|purse", BAG}, {"bags", "wallet", BAG},
    {"bags", "belt", BAG},
    {"bags", "suitcase|luggage", BAG}, {"bags", "tote", BAG}, {"bags", "briefcase", BAG}, {"bags", "pouch", BAG},
    {"beauty", "face cream|day cream", CARE}, {"beauty", "shampoo", CARE}, {"beauty", "conditioner", CARE},
    {"beauty", "body lotion", CARE}, {"beauty", "lipstick", MAKEUP}, {"beauty", "mascara", MAKEUP},
    {"beauty", "deodorant", CARE},
    {"beauty", "sunscreen|sun block", CARE},
    {"kitchen", "frying pan|skillet", COOK}, {"kitchen", "saucepan", COOK}, {"kitchen", "kettle", COOK},
    {"kitchen", "knife", COOK},
    {"kitchen", "cutting board", COOK}, {"kitchen", "mug|cup", COOK}, {"kitchen", "plate", COOK},
    {"kitchen", "blender|mixer", COOK},
    {"home", "pillow|cushion", SLEEP}, {"home", "blanket|throw", SLEEP}, {"home", "curtain|drape", SLEEP},
    {"home", "rug|carpet", SLEEP},
    {"home", "lamp", DECOR}, {"home", "mirror", DECOR}, {"home", "towel", SLEEP}, {"home", "mattress", SLEEP},
    {"tech", "headphones|earbuds", TECH}, {"tech", "speaker", TECH}, {"tech", "keyboard", TECH},
    {"tech", "mouse", TECH},
    {"tech", "charger", TECH}, {"tech", "monitor|display", TECH}, {"tech", "camera", TECH}, {"tech", "fan", TECH},
    {"tools", "drill", TOOL}, {"tools", "hammer|mallet", TOOL}, {"tools", "glue|adhesive", TOOL},
    {"tools", "tape", TOOL},
    {"tools", "screwdriver", TOOL}, {"tools", "saw", TOOL}, {"tools", "ladder", TOOL},
    {"tools", "sealant|caulk", TOOL},
    {"garden", "hose", YARD}, {"garden", "lawn mower", YARD}, {"garden", "planter|flower pot", YARD},
    {"garden", "grill|barbecue", YARD},
    {"garden", "patio chair|garden chair", YARD}, {"garden", "parasol", YARD}, {"garden", "shovel|spade", YARD},
    {"garden", "bird feeder", YARD},
    {"pets", "dog food|kibble", FEED}, {"pets", "cat food", FEED}, {"pets", "leash", PET}, {"pets", "collar", PET},
    {"pets", "dog bed", PET}, {"pets", "scratching post|cat tree", PET}, {"pets", "pet carrier", PET},
    {"pets", "dog toy|chew toy", PET},
    {"sports", "yoga mat|exercise mat", SPORT}, {"sports", "dumbbell", SPORT}, {"sports", "tent", SPORT},
    {"sports", "helmet", SPORT},
    {"sports", "bicycle|bike", SPORT}, {"sports", "bottle|flask", SPORT}, {"sports", "racket", SPORT},
    {"sports", "kayak|canoe", SPORT},
    {"grocery", "coffee|espresso", DRINK}, {"grocery", "tea", DRINK}, {"grocery", "muesli|granola", DRINK},
    {"grocery", "cookies|biscuits", DRINK}, {"grocery", "juice", DRINK}, {"grocery", "yogurt", DRINK},
    {"grocery", "snack bar", DRINK}, {"grocery", "jam|jelly", DRINK},
};
const size_t data_n_leaf_rows = COUNT(data_leaf_rows);

const char *const data_brand_heads[14] = {"Zor", "Lum", "Ver", "Kal", "Nor", "Tef", "Bri", "Dax", "Mel",
                                          "Pav", "Qui", "Ral", "Sto", "Wex"};
const char *const data_brand_tails[12] = {"via", "era", "ano", "ix", "ella", "on", "ado",
                                          "ium", "ara", "ett", "ova", "une"};
