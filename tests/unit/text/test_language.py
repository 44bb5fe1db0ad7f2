import pytest
from rolecall_server.text.language import detect_language


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I have 5 years of software development experience, proficient in Python and Java."),
        ("en", "Python"),
        ("en", "Senior Café Manager, São Paulo office, five years with the company"),
        ("en", "Worked at 华为 (Huawei) in Shenzhen as an engineer"),
        ("zh", "具有5年软件开发经验，熟练掌握Python、Java等编程语言"),
        ("zh", "Java开发工程师 Spring Boot MySQL Redis Kafka"),
        ("zh", "護理師，三年經驗"),
        ("zh", "擅长の读音教学，曾在东京留学三年，现任职于上海的一家贸易公司"),
        ("und", "ソフトウェアエンジニアとして5年の経験があります"),
        ("und", "소프트웨어 개발자, 5년 경력"),
        ("und", "Softwareentwickler mit Erfahrung und Freude an der Arbeit"),
        ("und", "Développeur expérimenté en Java pour une équipe"),
        ("und", "Инженер-программист со знанием Python"),
        ("und", "مهندس برمجيات"),
        ("und", "12345 +49 30 1234"),
        ("und", "👍🎉"),
        ("und", ""),
    ],
)
def test_language(language: str, text: str) -> None:
    assert detect_language(text) == language


def test_only_the_beginning_counts() -> None:
    assert detect_language("软件工程师。" * 1000 + "The end of a very long text. " * 10_000) == "zh"
