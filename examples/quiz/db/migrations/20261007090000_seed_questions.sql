-- +goose Up
-- Written for this application; each question stands here in English and in Japanese.
CREATE TEMPORARY TABLE seed (lang text, category text, prompt text, choices text[], correct int, explanation text) ON COMMIT DROP;

INSERT INTO seed (lang, category, prompt, choices, correct, explanation) VALUES
    ('en', 'Places', 'Which river runs through the middle of Kyoto, its banks lined with people sitting in pairs?',
        ARRAY['The Kamo', 'The Yodo', 'The Sumida', 'The Shinano'], 1,
        'The Kamo runs north to south through the city. The Sumida is in Tokyo, the Yodo reaches the sea at Osaka.'),
    ('ja', 'Places', '京都の市街地を南北に流れ、川べりに人が並んで座ることで知られる川はどれですか。',
        ARRAY['鴨川', '淀川', '隅田川', '信濃川'], 1,
        '鴨川は市街地を北から南へ流れます。隅田川は東京、淀川は大阪湾に注ぐ川です。'),
    ('en', 'History', 'In which year was Edo renamed Tokyo?',
        ARRAY['1603', '1853', '1868', '1889'], 3,
        'The name changed in 1868, the first year of the Meiji era. 1603 is the start of the Edo shogunate, 1853 the arrival of Perry''s ships.'),
    ('ja', 'History', '江戸が東京と改称されたのは西暦何年ですか。',
        ARRAY['1603年', '1853年', '1868年', '1889年'], 3,
        '改称は1868年、明治元年のことです。1603年は江戸幕府が開かれた年、1853年はペリー来航の年です。'),
    ('en', 'History', 'The Rosetta Stone carries one decree in three scripts. Which of these is among them?',
        ARRAY['Linear B', 'Demotic', 'Cuneiform', 'Runes'], 2,
        'The three are hieroglyphs, Demotic and Greek. Having the Greek beside the other two made them readable again.'),
    ('ja', 'History', 'ロゼッタ・ストーンには同じ布告が三種類の文字で刻まれています。そのひとつはどれですか。',
        ARRAY['線文字B', 'デモティック（民衆文字）', '楔形文字', 'ルーン文字'], 2,
        '三種類とは神聖文字、民衆文字、ギリシア文字です。ギリシア文字の文が手がかりとなって解読が進みました。'),
    ('en', 'Science', 'On which planet does one turn around its own axis take longer than one trip around the Sun?',
        ARRAY['Mercury', 'Mars', 'Jupiter', 'Venus'], 4,
        'Venus needs about 243 Earth days for a turn and about 225 for an orbit, and it turns backwards.'),
    ('ja', 'Science', '自転一回にかかる時間が、太陽のまわりを一周する時間より長い惑星はどれですか。',
        ARRAY['水星', '火星', '木星', '金星'], 4,
        '金星は自転におよそ243日、公転におよそ225日かかります。しかも自転の向きは逆です。'),
    ('en', 'Science', 'Through which of these does sound travel fastest?',
        ARRAY['Air', 'Fresh water', 'Steel', 'A vacuum'], 3,
        'Roughly 340 m/s in air, 1,500 m/s in water and more than 5,000 m/s in steel. In a vacuum it does not travel at all.'),
    ('ja', 'Science', '音がもっとも速く伝わるのはどれですか。',
        ARRAY['空気', '真水', '鋼鉄', '真空'], 3,
        '空気中ではおよそ毎秒340m、水中では1,500m、鋼鉄では5,000mを超えます。真空では伝わりません。'),
    ('en', 'Science', 'Tofu is set with nigari. What is nigari mostly made of?',
        ARRAY['Magnesium chloride', 'Sodium bicarbonate', 'Citric acid', 'Calcium carbonate'], 1,
        'Nigari is what remains of sea water when the salt is taken out: mostly magnesium chloride. It makes the soy protein clot.'),
    ('ja', 'Science', '豆腐を固める「にがり」の主な成分はどれですか。',
        ARRAY['塩化マグネシウム', '炭酸水素ナトリウム', 'クエン酸', '炭酸カルシウム'], 1,
        'にがりは海水から塩を取った残りで、主に塩化マグネシウムです。大豆のたんぱく質を固めます。'),
    ('en', 'Art', 'Who made the series of prints to which The Great Wave off Kanagawa belongs?',
        ARRAY['Utagawa Hiroshige', 'Katsushika Hokusai', 'Kitagawa Utamaro', 'Toshusai Sharaku'], 2,
        'It is one of Hokusai''s Thirty-six Views of Mount Fuji, which in the end were forty-six.'),
    ('ja', 'Art', '「神奈川沖浪裏」を含む浮世絵の連作を描いたのはだれですか。',
        ARRAY['歌川広重', '葛飾北斎', '喜多川歌麿', '東洲斎写楽'], 2,
        '北斎の「富嶽三十六景」の一枚です。好評のため描き足され、最後は四十六枚になりました。'),
    ('en', 'Words', 'Which of these English words came from Japanese?',
        ARRAY['Ketchup', 'Bamboo', 'Tycoon', 'Mandarin'], 3,
        'Tycoon is taikun, the title used for the shogun in letters to foreign powers. The other three came by way of Southeast Asia.'),
    ('ja', 'Words', '日本語から英語に入った言葉はどれですか。',
        ARRAY['ketchup', 'bamboo', 'tycoon', 'mandarin'], 3,
        'tycoon は「大君」、幕末の外交文書で将軍を指した称号です。ほかの三つは東南アジアの言葉を経て伝わりました。'),
    ('en', 'Words', 'In a Japanese timber house, what is the dodai?',
        ARRAY['The beam along the ridge of the roof', 'The timber on the footing that carries the posts', 'The raised alcove for a scroll', 'The rail a sliding door runs in'], 2,
        'The dodai is the sill: it lies on the footing, the posts stand on it. Nobody sees it, and everything rests on it.'),
    ('ja', 'Words', '日本の木造住宅で「土台」と呼ばれるのはどれですか。',
        ARRAY['屋根のいちばん上に渡す横木', '基礎の上に据えて柱を受ける横木', '掛け軸を飾る一段高い場所', '引き戸を滑らせる溝の付いた横木'], 2,
        '土台は基礎の上に据え、柱を立てる横木です。目には見えませんが、すべてがその上に載っています。');

INSERT INTO questions (lang, category, prompt, explanation)
SELECT lang, category, prompt, explanation FROM seed;

INSERT INTO choices (question_id, position, text, correct)
SELECT questions.id, choice.position, choice.text, choice.position = seed.correct
FROM seed
JOIN questions ON questions.prompt = seed.prompt AND questions.author_id IS NULL
CROSS JOIN LATERAL unnest(seed.choices) WITH ORDINALITY AS choice (text, position);

-- +goose Down
DELETE FROM answers USING questions WHERE answers.question_id = questions.id AND questions.author_id IS NULL;
DELETE FROM questions WHERE author_id IS NULL;
