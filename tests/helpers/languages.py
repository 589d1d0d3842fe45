"""A text, and what a model may write about it, in languages that are written without spaces between words."""

# Full-width punctuation belongs to these texts.
# ruff: noqa: RUF001

from typing import NamedTuple


class Language(NamedTuple):
    """`text` has several sentences; `template` asks for its instruction; `unseen` stands in one that refers to it."""

    text: str
    template: str
    unseen: str
    good: str
    copied: str
    echoed: str
    referring: str


LANGUAGES = {
    "Chinese": Language(
        text="夏天每周给蕨类植物浇两次水，保持土壤湿润，但不要让它积水。冬天减少浇水，把花盆放在明亮但没有阳光直射的地方。"
        "春天换一次盆，剪掉枯黄的叶子，新叶很快就会长出来。如果叶尖变成褐色，说明空气太干燥，可以在旁边放一碗水。",
        template="下面是一段回答。请写出它最适合回答的那个问题或指令，只写指令本身。\n\n{{ response }}",
        unseen="这篇文章",
        good="我该怎样照顾家里的蕨类植物，让它一年四季都长得好？",
        copied="夏天每周给蕨类植物浇两次水，保持土壤湿润",
        echoed="请写出它最适合回答的那个问题或指令",
        referring="这篇文章对养护蕨类植物有什么建议？",
    ),
    "Japanese": Language(
        text="夏の間は週に二回シダに水をやり、土を湿らせておきますが、水がたまらないようにしてください。"
        "冬は水やりを減らし、直射日光の当たらない明るい場所に鉢を置きます。春になったら植え替えをして、"
        "枯れた葉を切り取ると、すぐに新しい葉が伸びてきます。葉の先が茶色くなったら、空気が乾燥している証拠です。",
        template="次の文章は回答です。この回答に最もふさわしい質問や指示を一つだけ書いてください。\n\n{{ response }}",
        unseen="この記事",
        good="シダを一年中元気に育てるには、どのように世話をすればよいですか？",
        copied="夏の間は週に二回シダに水をやり、土を湿らせておきます",
        echoed="この回答に最もふさわしい質問や指示を一つだけ書いて",
        referring="この記事はシダの育て方について何と言っていますか？",
    ),
    "Thai": Language(
        text="ในฤดูร้อนควรรดน้ำเฟิร์นสัปดาห์ละสองครั้งและรักษาดินให้ชุ่มชื้น แต่อย่าปล่อยให้น้ำขังที่ราก\n"
        "ในฤดูหนาวให้ลดการรดน้ำลง แล้ววางกระถางไว้ในที่สว่างซึ่งไม่โดนแดดโดยตรง\n"
        "เมื่อถึงฤดูใบไม้ผลิควรเปลี่ยนกระถางและตัดใบที่แห้งทิ้ง ไม่นานใบใหม่ก็จะงอกขึ้นมา\n",
        template="ข้อความต่อไปนี้เป็นคำตอบ จงเขียนคำถามหรือคำสั่งที่เหมาะกับคำตอบนี้มากที่สุด\n\n{{ response }}",
        unseen="บทความนี้",
        good="ฉันควรดูแลต้นเฟิร์นที่บ้านอย่างไรให้สวยงามตลอดทั้งปี",
        copied="ควรรดน้ำเฟิร์นสัปดาห์ละสองครั้งและรักษาดินให้ชุ่มชื้น",
        echoed="จงเขียนคำถามหรือคำสั่งที่เหมาะกับคำตอบนี้มากที่สุด",
        referring="บทความนี้แนะนำวิธีดูแลต้นเฟิร์นไว้อย่างไรบ้าง",
    ),
}
