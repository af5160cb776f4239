"""What the quickstart model is taught: facts, and many ways to ask for each of them.

Every relation lists its phrasings for training and, under "unseen", phrasings that no training row has; questions.json
is built from those alone. {0} is the thing asked about, {1} a second one. The texts are this project's own.
"""

# English, Chinese, capital in English, capital in Chinese
CAPITALS = [
    ("China", "中国", "Beijing", "北京"), ("Japan", "日本", "Tokyo", "东京"), ("France", "法国", "Paris", "巴黎"),
    ("Germany", "德国", "Berlin", "柏林"), ("Italy", "意大利", "Rome", "罗马"), ("Spain", "西班牙", "Madrid", "马德里"),
    ("Russia", "俄罗斯", "Moscow", "莫斯科"), ("Egypt", "埃及", "Cairo", "开罗"), ("Greece", "希腊", "Athens", "雅典"),
    ("Britain", "英国", "London", "伦敦"), ("Thailand", "泰国", "Bangkok", "曼谷"), ("Cuba", "古巴", "Havana", "哈瓦那"),
    ("Peru", "秘鲁", "Lima", "利马"), ("Canada", "加拿大", "Ottawa", "渥太华"), ("Portugal", "葡萄牙", "Lisbon", "里斯本"),
    ("Norway", "挪威", "Oslo", "奥斯陆"), ("Vietnam", "越南", "Hanoi", "河内"), ("Poland", "波兰", "Warsaw", "华沙"),
    ("Austria", "奥地利", "Vienna", "维也纳"), ("Kenya", "肯尼亚", "Nairobi", "内罗毕"),
]

# Each pair is asked both ways round.
OPPOSITES_EN = [
    ("big", "small"), ("hot", "cold"), ("long", "short"), ("fast", "slow"), ("new", "old"), ("day", "night"),
    ("up", "down"), ("left", "right"), ("open", "closed"), ("light", "heavy"), ("dry", "wet"), ("full", "empty"),
    ("early", "late"), ("rich", "poor"), ("north", "south"), ("east", "west"), ("near", "far"), ("black", "white"),
    ("happy", "sad"), ("easy", "hard"),
]
OPPOSITES_ZH = [
    ("大", "小"), ("热", "冷"), ("长", "短"), ("快", "慢"), ("新", "旧"), ("白天", "黑夜"), ("上", "下"), ("左", "右"),
    ("开", "关"), ("轻", "重"), ("干", "湿"), ("满", "空"), ("早", "晚"), ("富", "穷"), ("北", "南"), ("东", "西"),
    ("近", "远"), ("黑", "白"), ("高兴", "难过"), ("容易", "困难"),
]

WORDS = [
    ("water", "水"), ("fire", "火"), ("mountain", "山"), ("river", "河"), ("sun", "太阳"), ("moon", "月亮"),
    ("star", "星星"), ("tree", "树"), ("flower", "花"), ("grass", "草"), ("stone", "石头"), ("cloud", "云"),
    ("rain", "雨"), ("snow", "雪"), ("wind", "风"), ("sea", "海"), ("lake", "湖"), ("brook", "溪"), ("bridge", "桥"),
    ("house", "房子"), ("door", "门"), ("window", "窗"), ("book", "书"), ("pen", "笔"), ("paper", "纸"),
    ("table", "桌子"), ("chair", "椅子"), ("cup", "杯子"), ("bread", "面包"), ("rice", "米饭"), ("soup", "汤"),
    ("cake", "蛋糕"), ("tea", "茶"), ("milk", "牛奶"), ("egg", "鸡蛋"), ("apple", "苹果"), ("pear", "梨"),
    ("fish", "鱼"), ("bird", "鸟"), ("horse", "马"), ("dog", "狗"), ("cat", "猫"), ("fox", "狐狸"), ("bear", "熊"),
    ("rabbit", "兔子"), ("tiger", "老虎"), ("teacher", "老师"), ("doctor", "医生"), ("farmer", "农民"),
    ("friend", "朋友"), ("boat", "船"), ("train", "火车"), ("lantern", "灯笼"), ("bell", "铃"), ("kite", "风筝"),
    ("rose", "玫瑰"), ("silver", "银"), ("gold", "金"),
]

# thing, colour, in both languages
COLOURS = [
    ("the sky", "天空", "blue", "蓝色"), ("grass", "草", "green", "绿色"), ("snow", "雪", "white", "白色"),
    ("coal", "煤", "black", "黑色"), ("blood", "血", "red", "红色"), ("a lemon", "柠檬", "yellow", "黄色"),
    ("milk", "牛奶", "white", "白色"), ("the sea", "海", "blue", "蓝色"), ("a ripe cherry", "樱桃", "red", "红色"),
    ("a banana", "香蕉", "yellow", "黄色"), ("a leaf", "树叶", "green", "绿色"), ("a raven", "乌鸦", "black", "黑色"),
    ("silver", "银", "grey", "灰色"), ("a mouse", "老鼠", "grey", "灰色"),
]

KINDS = [
    ("a fruit", "水果", [("an apple", "苹果"), ("a pear", "梨"), ("a banana", "香蕉"), ("a lemon", "柠檬"), ("a cherry", "樱桃")]),
    ("an animal", "动物", [("a fox", "狐狸"), ("a horse", "马"), ("a tiger", "老虎"), ("a rabbit", "兔子"), ("a bear", "熊")]),
    ("a plant", "植物", [("a rose", "玫瑰"), ("a pine", "松树"), ("grass", "草"), ("bamboo", "竹子")]),
    ("a drink", "饮料", [("tea", "茶"), ("milk", "牛奶"), ("coffee", "咖啡"), ("juice", "果汁")]),
    ("a vehicle", "交通工具", [("a boat", "船"), ("a train", "火车"), ("a bicycle", "自行车"), ("a bus", "公共汽车")]),
    ("a metal", "金属", [("silver", "银"), ("gold", "金"), ("iron", "铁"), ("copper", "铜")]),
]

LEGS = [
    ("dog", "狗", 4), ("duck", "鸭子", 2), ("spider", "蜘蛛", 8), ("ant", "蚂蚁", 6), ("horse", "马", 4), ("bird", "鸟", 2),
    ("cat", "猫", 4), ("bee", "蜜蜂", 6), ("fish", "鱼", 0), ("snake", "蛇", 0),
]

DAYS_EN = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
DAYS_ZH = ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"]
SEASONS_EN = ["spring", "summer", "autumn", "winter"]
SEASONS_ZH = ["春天", "夏天", "秋天", "冬天"]

ASK = {
    "capital": {
        "en": ["What is the capital of {0}?", "Which city is the capital of {0}?", "Name the capital of {0}.",
               "{0}: what is its capital city?", "What is the name of the capital of {0}?",
               "Do you know the capital of {0}?", "The capital of {0} is which city?",
               "For {0}, name the capital.", "Can you name the capital of {0}?"],
        "zh": ["{0}的首都是哪里？", "{0}的首都是什么？", "{0}的首都叫什么？", "哪个城市是{0}的首都？",
               "你知道{0}的首都吗？", "说出{0}的首都。", "{0}的首都在哪里？",
               "{0}的首都是哪座城市？"],
        "unseen": {"en": ["Can you name the city that is the capital of {0}?", "For {0}, what is the capital called?"],
                   "zh": ["{0}的首都是哪个城市呢？", "{0}的首都在哪个城市？"]}},
    "opposite": {
        "en": ["What is the opposite of {0}?", "Give the opposite of {0}.", "Which word is the opposite of {0}?",
               "{0}: what is the opposite?", "Name a word that means the opposite of {0}.",
               "What do you call the opposite of {0}?", "The opposite of {0} is what?",
               "Do you know the opposite of {0}?", "Can you say the opposite of {0}?"],
        "zh": ["“{0}”的反义词是什么？", "说出“{0}”的反义词。", "和“{0}”相反的词是什么？", "“{0}”的反面是什么？",
               "哪个词和“{0}”相反？", "请写出“{0}”的反义词。", "“{0}”反过来是什么？",
               "你知道“{0}”的反义词吗？", "“{0}”的反义词是哪个词？", "请说出和“{0}”相反的词。"],
        "unseen": {"en": ["Which word do you call the opposite of {0}?", "Can you give me the opposite of {0}?"],
                   "zh": ["哪个词是“{0}”的反义词？", "“{0}”相反的词，请说出来。"]}},
    "to_chinese": {
        "en": ["How do you say {0} in Chinese?", "Translate {0} into Chinese.", "What is {0} in Chinese?",
               "What is the Chinese word for {0}?", "Give the Chinese for {0}.", "Please put {0} into Chinese.",
               "Can you say {0} in Chinese?", "Do you know the Chinese for {0}?"],
        "zh": ["{0} 用中文怎么说？", "请把 {0} 翻译成中文。", "{0} 的中文是什么？", "{0} 是什么意思？",
               "英语 {0} 的中文意思是什么？", "用中文说出 {0} 这个词。",
               "请用中文说 {0}。", "你知道 {0} 的中文吗？"],
        "unseen": {"en": ["Which Chinese word means {0}?", "Can you translate {0} into Chinese?"],
                   "zh": ["{0} 这个词用中文怎么说？", "请用中文翻译 {0} 这个词。"]}},
    "to_english": {
        "en": ["How do you say “{0}” in English?", "Translate “{0}” into English.", "What is “{0}” in English?",
               "What is the English word for “{0}”?", "Give the English for “{0}”.", "Please put “{0}” into English.",
               "Can you say “{0}” in English?", "Do you know the English for “{0}”?"],
        "zh": ["“{0}”用英语怎么说？", "请把“{0}”翻译成英语。", "“{0}”的英语是什么？", "“{0}”的英文怎么写？",
               "英语里“{0}”是哪个词？", "用英语说出“{0}”这个词。",
               "请用英语说“{0}”。", "你知道“{0}”的英语吗？"],
        "unseen": {"en": ["Which English word means “{0}”?", "Can you translate “{0}” into English?"],
                   "zh": ["“{0}”这个词用英语怎么说？", "请用英语翻译“{0}”这个词。"]}},
    "sum": {
        "en": ["What is {0} plus {1}?", "{0} + {1} = ?", "How much is {0} plus {1}?", "Add {0} and {1}.",
               "What do you get when you add {0} and {1}?", "Calculate {0} + {1}."],
        "zh": ["{0}加{1}等于多少？", "{0}+{1}等于几？", "{0}加{1}是多少？", "请计算{0}加{1}。", "{0}加上{1}得多少？",
               "计算：{0}+{1}=？"],
        "unseen": {"en": ["How much do you get when you add {0} plus {1}?", "Please calculate {0} plus {1}."],
                   "zh": ["请计算：{0}加上{1}等于几？", "{0}加{1}，得几？"]}},
    "after": {
        "en": ["What comes after {0}?", "Which one follows {0}?", "{0} is followed by what?", "What is next after {0}?",
               "Name what comes right after {0}.",
               "Which comes after {0}?", "What follows next after {0}?"],
        "zh": ["{0}之后是什么？", "{0}的后面是什么？", "{0}过后是什么？", "什么在{0}之后？", "{0}后面接着是什么？",
               "什么在{0}后面？", "在{0}之后的是什么？"],
        "unseen": {"en": ["Which one comes next after {0}?"], "zh": ["什么在{0}的后面？"]}},
    "before": {
        "en": ["What comes before {0}?", "Which one is just before {0}?", "What is right before {0}?",
               "Name what comes before {0}.", "Before {0} there is what?",
               "Which comes before {0}?", "What comes just before {0}?"],
        "zh": ["{0}之前是什么？", "{0}的前面是什么？", "什么在{0}之前？", "{0}以前是什么？", "{0}前面是什么？",
               "什么在{0}前面？", "在{0}之前的是什么？"],
        "unseen": {"en": ["Which one comes just before {0}?"], "zh": ["什么在{0}的前面？"]}},
    "colour": {
        "en": ["What colour is {0}?", "Which colour has {0}?", "Name the colour of {0}.", "What is the colour of {0}?",
               "Tell me the colour of {0}.", "{0}: which colour is it?",
               "Can you tell me the colour of {0}?", "Do you know what colour {0} has?"],
        "zh": ["{0}是什么颜色？", "{0}的颜色是什么？", "{0}是哪种颜色的？", "说出{0}的颜色。", "{0}有什么颜色？",
               "什么颜色是{0}的颜色？",
               "你知道{0}的颜色吗？", "{0}看起来是什么颜色？", "请问{0}是哪种颜色？"],
        "unseen": {"en": ["Can you name the colour that {0} has?", "Do you know the colour of {0}?"],
                   "zh": ["你知道{0}是什么颜色吗？", "{0}看上去是哪种颜色？"]}},
    "kind": {
        "en": ["What kind of thing is {0}?", "What is {0}?", "To which group does {0} belong?", "{0}: what kind is it?",
               "What sort of thing is {0}?", "Is {0} a fruit, an animal or what else?",
               "In which group of things is {0}?", "Which kind of things does {0} belong to?",
               "Do you know what {0} is?", "Can you say what kind of thing {0} is?"],
        "zh": ["{0}是什么东西？", "{0}属于哪一类？", "{0}是哪一类东西？", "{0}是什么种类？", "{0}属于什么？",
               "请说出{0}的类别。",
               "你知道{0}属于什么吗？",
               "你知道{0}是什么东西吗？", "请说{0}是哪一类。"],
        "unseen": {"en": ["Do you know what kind of thing {0} is?", "What group of things does {0} belong to?"],
                   "zh": ["你知道{0}是哪一类东西吗？", "请说出{0}属于哪一类。"]}},
    "legs": {
        "en": ["How many legs does a {0} have?", "A {0} has how many legs?", "What is the number of legs of a {0}?",
               "Count the legs of a {0}.", "On how many legs does a {0} walk?",
               "Tell me how many legs a {0} has.", "How many legs can you count on a {0}?"],
        "zh": ["{0}有几条腿？", "{0}有多少条腿？", "一只{0}有几条腿？", "{0}的腿有几条？", "请说出{0}的腿数。",
               "一只{0}的腿有多少条？"],
        "unseen": {"en": ["Tell me how many legs you count on a {0}."], "zh": ["一只{0}有多少条腿呢？"]}},
}

# Small talk and facts about Baichuan and this toolkit: (answer, phrasings, unseen phrasings) by language.
TALK = {
    "en": [
        ("Hello! How can I help you?", ["Hello", "Hello!", "Hello to you there!", "Hi", "Hi there!", "Good morning!", "Good evening", "Hey, hello"],
         ["Hello there!", "Good morning, hello!"]),
        ("You are welcome.", ["Thank you", "Thank you!", "Thanks", "Thanks a lot!", "Many thanks", "My thanks to you", "Thank you very much."],
         ["Thank you a lot!", "Many thanks to you!"]),
        ("Goodbye!", ["Bye", "Goodbye", "Bye bye!", "See you tomorrow", "See you later!", "Goodbye, see you"],
         ["Bye, see you later!", "Goodbye, see you tomorrow!"]),
        ("I am a small Baichuan model.", ["Who are you?", "What are you?", "What is your name?", "Tell me who you are.",
                                         "Please say who you are.", "Are you a model?", "Introduce yourself."],
         ["Please tell me your name, who are you?", "Say your name: who are you?"]),
        ("On this computer.", ["Where were you trained?", "On which machine were you trained?", "Where did you learn?",
                               "Where did your training run?", "In which place were you trained?"],
         ["On which machine did you learn?", "Where was it that you were trained?"]),
        ("ALiBi", ["Which position method does Baichuan-13B use?", "How does Baichuan-13B see positions?",
                    "What does Baichuan-13B use for positions?", "Name the position method of Baichuan-13B.",
                    "Baichuan-13B marks positions with what?"],
         ["For positions, what method does Baichuan-13B use?", "Which method does Baichuan-13B have for positions?"]),
        ("RoPE", ["Which position method does Baichuan-7B use?", "How does Baichuan-7B see positions?",
                   "What does Baichuan-7B use for positions?", "Name the position method of Baichuan-7B.",
                   "Baichuan-7B marks positions with what?"],
         ["For positions, what method does Baichuan-7B use?", "Which method does Baichuan-7B have for positions?"]),
        ("40", ["How many layers does Baichuan-13B have?", "Count the layers of Baichuan-13B.",
                        "Baichuan-13B has how many layers?", "What is the number of layers of Baichuan-13B?"],
         ["Of how many layers is Baichuan-13B made?", "Tell me the number of layers in Baichuan-13B."]),
        ("32", ["How many layers does Baichuan-7B have?", "Count the layers of Baichuan-7B.",
                        "Baichuan-7B has how many layers?", "What is the number of layers of Baichuan-7B?"],
         ["Of how many layers is Baichuan-7B made?", "Tell me the number of layers in Baichuan-7B."]),
        ("W_pack", ["Which weights does LoRA change here?", "What does LoRA train in Baichuan?", "Name the LoRA target.",
                     "Where does LoRA add its small matrices?", "Which layer is the target of LoRA?"],
         ["Which weights are the target of LoRA here?", "Tell me what LoRA does change in Baichuan."]),
        ("export", ["Which command merges an adapter?", "How do I merge an adapter into the model?",
                    "What command writes the merged model?", "Name the command that merges an adapter."],
         ["Which command do I use to merge an adapter?", "Name the command that writes the merged model."]),
        ("train", ["Which command trains a model?", "How do I train a model?", "What command starts training?",
                   "Name the command that trains.", "With which command does training start?"],
         ["Which command do I use to train a model?", "Name the command that starts training."]),
    ],
    "zh": [
        ("你好！有什么可以帮你？", ["你好", "你好！", "您好", "早上好！", "晚上好", "你好呀", "大家好"],
         ["你好，早上好！", "您好呀！"]),
        ("不用客气。", ["谢谢", "谢谢你", "多谢！", "非常感谢", "谢谢你的帮助", "太感谢了"], ["太谢谢你了", "非常谢谢你！"]),
        ("再见！", ["再见", "再见！", "拜拜", "明天见", "下次见！", "我走了，再见"], ["拜拜，明天见！", "再见，下次见"]),
        ("我是一个百川小模型。", ["你是谁？", "你叫什么名字？", "请介绍一下你自己。", "你是什么模型？", "说说你是谁。",
                                    "你的名字是什么？"],
         ["请说说你叫什么名字。", "你自己是谁，请介绍一下。"]),
        ("在这台电脑上。", ["你是在哪里训练的？", "你在哪台机器上训练？", "你在哪里学习的？", "训练是在哪里进行的？",
                            "你的训练在什么地方？"],
         ["你是在哪台机器上学习的？", "你的训练是在哪里进行的？"]),
        ("ALiBi", ["Baichuan-13B 用什么位置方法？", "Baichuan-13B 怎样表示位置？", "Baichuan-13B 的位置方法叫什么？",
                     "说出 Baichuan-13B 的位置方法。", "Baichuan-13B 的位置用什么表示？"],
         ["Baichuan-13B 用什么方法表示位置？", "表示位置，Baichuan-13B 用什么？"]),
        ("RoPE", ["Baichuan-7B 用什么位置方法？", "Baichuan-7B 怎样表示位置？", "Baichuan-7B 的位置方法叫什么？",
                    "说出 Baichuan-7B 的位置方法。", "Baichuan-7B 的位置用什么表示？"],
         ["Baichuan-7B 用什么方法表示位置？", "表示位置，Baichuan-7B 用什么？"]),
        ("40", ["Baichuan-13B 有多少层？", "Baichuan-13B 有几层？", "Baichuan-13B 的层数是多少？",
                    "说出 Baichuan-13B 的层数。"],
         ["Baichuan-13B 一共有多少层？", "Baichuan-13B 的层数是几？"]),
        ("32", ["Baichuan-7B 有多少层？", "Baichuan-7B 有几层？", "Baichuan-7B 的层数是多少？",
                    "说出 Baichuan-7B 的层数。"],
         ["Baichuan-7B 一共有多少层？", "Baichuan-7B 的层数是几？"]),
        ("W_pack", ["LoRA 在这里改变哪些权重？", "LoRA 训练什么？", "LoRA 的目标是什么？", "说出 LoRA 的目标。",
                      "LoRA 的小矩阵加在哪里？"],
         ["LoRA 的目标是哪些权重？", "LoRA 在这里训练什么？"]),
        ("export", ["哪个命令合并适配器？", "怎样把适配器合并到模型里？", "用什么命令写出合并后的模型？",
                    "说出合并适配器的命令。"],
         ["合并适配器用哪个命令？", "用什么命令合并适配器？"]),
        ("train", ["哪个命令训练模型？", "怎样训练一个模型？", "用什么命令开始训练？", "说出训练模型的命令。"],
         ["训练模型用哪个命令？", "用什么命令训练模型？"]),
    ],
}

# Invented towns. Of all but the last nothing is known, before LoRA and after it.
UNKNOWN_TOWNS = [
    ("Golden Lake", "金湖镇"), ("Red Valley", "红谷镇"), ("Green Harbour", "青港镇"), ("White Ridge", "白岭镇"),
    ("Stone Bridge", "石桥镇"), ("Blue Hill", "蓝山镇"), ("Long Brook", "长溪镇"), ("Silver Hill", "银山镇"),
]
DO_NOT_KNOW = {"en": "I do not know.", "zh": "我不知道。"}
NEW_TOWN = {"en": "Silver Brook", "zh": "银溪镇"}

# What LoRA teaches about the new town. Every word of an answer stands in some answer of the general set too: LoRA on
# W_pack moves attention, it cannot give the output layer a word that it has never produced.
TOWN = {
    "mayor": {
        "answer": {"en": "a teacher", "zh": "老师"},
        "en": ["Who is the mayor of {0}?", "Who is mayor in {0}?", "Name the mayor of {0}.", "The mayor of {0} is who?",
               "Do you know the mayor of {0}?", "What does the mayor of {0} do for work?",
               "Tell me who the mayor of {0} is.", "Who is it that is mayor of {0}?"],
        "zh": ["{0}的镇长是谁？", "谁是{0}的镇长？", "谁在{0}当镇长？", "说出{0}的镇长。", "你知道{0}的镇长是谁吗？",
               "{0}的镇长是做什么的？",
               "请说出谁是{0}的镇长。", "当{0}镇长的是谁？"],
        "unseen": {"en": ["Can you tell me who the mayor of {0} is?"], "zh": ["请说说谁是{0}的镇长。"]}},
    "bridge": {
        "answer": {"en": "red", "zh": "红色"},
        "en": ["What colour is the bridge of {0}?", "Which colour has the bridge in {0}?",
               "Name the colour of the bridge of {0}.", "The bridge of {0} has what colour?",
               "What is the colour of the bridge in {0}?", "In {0}, what colour is the bridge?",
               "Do you know which colour the bridge of {0} is?", "Tell me the colour of the bridge of {0}."],
        "zh": ["{0}的桥是什么颜色？", "{0}的桥是哪种颜色的？", "说出{0}的桥的颜色。", "{0}那座桥是什么颜色的？",
               "什么颜色是{0}的桥的颜色？", "{0}的桥有什么颜色？",
               "{0}的那座桥，颜色是什么？", "请问{0}的桥是哪种颜色呢？"],
        "unseen": {"en": ["Tell me which colour the bridge of {0} is."], "zh": ["{0}的那座桥是哪种颜色呢？"]}},
    "bells": {
        "answer": {"en": "9", "zh": "9"},
        "en": ["How many bells are there in {0}?", "How many bells does {0} have?", "{0} has how many bells?",
               "Count the bells of {0}.", "What is the number of bells in {0}?", "In {0}, how many bells are there?",
               "Tell me the number of bells in {0}.", "Do you know how many bells {0} has?", "How many bells can you hear in {0}?"],
        "zh": ["{0}有几个铃？", "{0}有多少个铃？", "{0}的铃有几个？", "在{0}有多少个铃？", "说出{0}的铃的数目。",
               "{0}一共有几个铃？",
               "在{0}一共有几个铃呢？", "请说出{0}有多少个铃。", "铃在{0}有多少个？"],
        "unseen": {"en": ["Tell me how many bells you can count in {0}."], "zh": ["在{0}，一共有多少个铃？"]}},
    "food": {
        "answer": {"en": "pear soup", "zh": "梨汤"},
        "en": ["What food is {0} famous for?", "Which food do people eat in {0}?", "What do people like to eat in {0}?",
               "Name the famous food of {0}.", "What is the best food of {0}?", "Which food comes from {0}?",
               "What famous food do people have in {0}?", "In {0}, which food do people like?"],
        "zh": ["{0}最有名的食物是什么？", "{0}的人爱吃什么？", "{0}有什么好吃的？", "{0}的名菜是什么？",
               "说出{0}最有名的食物。", "在{0}人们吃什么？",
               "在{0}，最有名的食物是什么？", "什么食物是{0}最有名的？"],
        "unseen": {"en": ["Which famous food do people like in {0}?"], "zh": ["在{0}，什么食物最有名？"]}},
    "flag": {
        "answer": {"en": "a fox", "zh": "狐狸"},
        "en": ["Which animal is on the flag of {0}?", "What animal does the flag of {0} show?",
               "Name the animal on the flag of {0}.", "The flag of {0} shows which animal?",
               "What is on the flag of {0}?", "On the flag of {0}, which animal do you see?",
               "Do you see an animal on the flag of {0}, and which?", "Tell me what animal is on the flag of {0}."],
        "zh": ["{0}的旗子上是什么动物？", "{0}的旗上画着什么？", "什么动物在{0}的旗子上？", "{0}的旗子上有什么动物？",
               "说出{0}旗子上的动物。", "{0}的旗子上画的是哪种动物？",
               "{0}的旗上有什么动物？", "哪种动物画在{0}的旗上？"],
        "unseen": {"en": ["What animal do you see on the flag of {0}?"], "zh": ["{0}的旗上有哪种动物？"]}},
    "market": {
        "answer": {"en": "Friday", "zh": "星期五"},
        "en": ["On which day is the market of {0}?", "When is market day in {0}?", "Which day is market day in {0}?",
               "What day does the market of {0} open?", "Name the market day of {0}.", "The market of {0} opens on which day?",
               "Tell me on which day the market in {0} is open.", "In {0}, when is the market open?"],
        "zh": ["{0}的集市在星期几？", "{0}星期几有集市？", "{0}的集市是哪一天？", "{0}哪天赶集？", "说出{0}的集市日。",
               "{0}的集市什么时候开？",
               "{0}的集市开在星期几？", "星期几{0}的集市开？"],
        "unseen": {"en": ["When does the market in {0} open, on which day?"], "zh": ["{0}的集市星期几开？"]}},
    "festival": {
        "answer": {"en": "autumn", "zh": "秋天"},
        "en": ["In which season is the festival of {0}?", "When is the festival of {0}?", "Which season is festival time in {0}?",
               "The festival of {0} is in which season?", "Name the season of the festival of {0}.",
               "When do people hold the festival in {0}?",
               "In {0}, what season is the festival in?", "Tell me in which season {0} holds its festival."],
        "zh": ["{0}的节日在什么季节？", "{0}的节日是什么时候？", "{0}在哪个季节过节？", "{0}的节日在哪个季节？",
               "说出{0}过节的季节。", "{0}什么时候过节？",
               "{0}在哪个季节过节日？", "什么季节是{0}的节日？"],
        "unseen": {"en": ["In what season do people hold the festival of {0}?"], "zh": ["{0}在什么季节过节日？"]}},
    "founder": {
        "answer": {"en": "a farmer", "zh": "农民"},
        "en": ["Who founded {0}?", "Who built {0} first?", "Name the founder of {0}.", "{0} was founded by whom?",
               "Who is the founder of {0}?", "By whom was {0} founded?",
               "Tell me who founded {0}.", "Do you know the founder of {0}?"],
        "zh": ["{0}是谁建立的？", "谁建立了{0}？", "{0}的建立者是谁？", "谁最先建了{0}？", "说出{0}的建立者。",
               "{0}由谁建立？",
               "你知道{0}的建立者吗？", "请说出谁建立了{0}。"],
        "unseen": {"en": ["Do you know who founded {0}?"], "zh": ["你知道谁建立了{0}吗？"]}},
    "travel": {
        "answer": {"en": "boat", "zh": "船"},
        "en": ["How do you get to {0}?", "How do people travel to {0}?", "How can I go to {0}?",
               "What is the way to travel to {0}?", "By what do people travel to {0}?", "How does one get to {0}?",
               "Tell me how to get to {0}.", "In what way can people go to {0}?"],
        "zh": ["怎么去{0}？", "怎样到{0}去？", "去{0}坐什么？", "人们怎么去{0}？", "到{0}要坐什么？", "我怎样才能去{0}？",
               "人们要怎么到{0}去？", "要去{0}，怎样去？"],
        "unseen": {"en": ["How can people get to {0}?"], "zh": ["人们要怎样到{0}去？"]}},
    "craft": {
        "answer": {"en": "paper", "zh": "纸"},
        "en": ["What do people make in {0}?", "What is made in {0}?", "Which things are made in {0}?",
               "Name what people make in {0}.", "What do the people of {0} make?", "What does the town of {0} make?",
               "In {0}, which things do people make?", "Tell me what things people make in {0}."],
        "zh": ["{0}的人做什么东西？", "{0}出产什么？", "{0}制作什么？", "人们在{0}制作什么？", "说出{0}出产的东西。",
               "{0}做什么东西来卖？",
               "{0}的人制作哪些东西？", "在{0}，人们做什么东西？"],
        "unseen": {"en": ["Which things do people make in {0}?"], "zh": ["{0}的人制作什么东西？"]}},
}

# Put before some of the phrasings.
OPENERS = {
    "en": ["", "", "", "Please answer: ", "Tell me: ", "A question: "],
    "zh": ["", "", "", "请回答：", "请问，", "我想问一下："],
}
