"""Everyday English sentences of broad phonetic coverage, written for this project: what synthetic negatives say."""

SENTENCES = tuple(
    """
The kettle takes about four minutes to boil on this old stove.
Could you hand me the blue scissors from the second drawer?
We left the car at the garage because the brakes were squeaking.
My grandmother keeps a jar of buttons that nobody is allowed to open.
It rained so hard last night that the gutters overflowed twice.
Please put the leftover soup in the fridge before you go to bed.
Hey, are you coming with us or staying at home tonight?
The library closes at half past five on Thursdays.
I forgot where I parked, so I walked around the lot for ages.
Their youngest daughter plays the cello in the school orchestra.
Turn left at the bakery and go straight on until the bridge.
He bought three pounds of cherries and ate most of them on the way.
The new neighbours have a dog that barks whenever the postman comes.
Okay, let us begin with the second page of the report.
She said the meeting had been moved to a quarter past eleven.
There is hardly any milk left, and the shop is already shut.
Yesterday we watched a documentary about whales in the Arctic.
Can you hear that buzzing noise behind the wall?
A thin layer of ice covered the pond early in the morning.
The choir rehearses in the church hall every other Wednesday.
Don't forget to water the tomatoes while I am away.
He measured the window twice and still cut the curtain too short.
Our flight was delayed because of thick fog over the channel.
I would rather have a small house with a big garden.
The thermometer showed minus six when we woke up.
Would anyone like another slice of this ginger cake?
Jack fixed the leaking tap with nothing but a rubber ring.
The old clock in the hallway is always eleven minutes slow.
You should wear a scarf, since the wind is bitter today.
They painted the fence green and the shed a pale yellow.
Why did the printer stop in the middle of the page?
The judge asked the witness to speak a little louder.
Pour the batter into the pan and wait until bubbles appear.
My phone battery dies much faster in cold weather.
The village has one pub, one church and no traffic lights.
I think the answer is somewhere between forty and fifty.
A young fox crossed the road right in front of our bus.
What time does the pharmacy on Church Street open?
His handwriting is so small that I need a magnifying glass.
We hung the washing outside, and then it began to drizzle.
The museum offers free entry on the first Sunday of the month.
Somebody left an umbrella on the back seat of the taxi.
The carpenter charged less than we had expected.
Let me know as soon as the parcel arrives.
She speaks Portuguese at home and English at work.
The cat squeezed through the gap and vanished into the hedge.
Are these gloves yours, or do they belong to George?
I have never seen so many stars in one sky.
The recipe calls for two eggs, some flour and a pinch of salt.
Every summer the river shrinks until you can wade across.
He shouted across the valley and waited for the echo.
The teacher drew a large triangle on the whiteboard.
We usually take the early train to avoid the crowds.
Nobody noticed that the clock had stopped at noon.
The soup needs a bit more pepper and perhaps some thyme.
Is there any chance of finding a seat near the window?
My uncle raises sheep on a farm near the coast.
The children built a castle out of cardboard boxes.
I dropped my keys down a drain on the way to work.
The nurse checked his pulse and wrote something on a chart.
Thank you for the lovely flowers; they smell wonderful.
The engine coughed, rattled and finally went quiet.
You can borrow my bicycle as long as you lock it up.
The price of petrol went up again over the weekend.
A crowd had gathered outside the theatre by seven.
She whispered so softly that I only caught half of it.
We need six chairs, but I can find just four of them.
The mountain path was closed because of falling rocks.
Who ate the last piece of cheese without telling me?
He practised the same difficult passage for an hour.
The lamp flickers whenever somebody uses the toaster.
Put your shoes by the door, would you please?
It was the longest and dullest speech of the whole evening.
They keep bees on the roof of the office building.
A cool breeze came through the open kitchen window.
The bank sent me a letter about my savings account.
I usually have porridge with honey for breakfast.
The ferry to the island leaves every ninety minutes.
How much would it cost to mend the zip on this jacket?
The puppy chewed a hole in the corner of the rug.
We sat by the fire and told each other ghost stories.
Her voice sounded hoarse after the football match.
The path through the woods is muddy until late spring.
Just press the round button and wait for the beep.
My brother is training for a marathon in October.
The jury could not agree after five days of discussion.
There were seventeen messages waiting when I got back.
I'd like to change my appointment to Friday, if possible.
The baker throws away the burnt loaves every evening.
A yellow submarine stood in the corner of the toy shop.
The doctor told him to drink more water and less coffee.
We could see the lighthouse flashing through the mist.
Did you remember to switch off the iron upstairs?
The photograph shows my parents on their wedding day.
He always hums when he is doing the washing up.
The lift was broken, so we climbed nine flights of stairs.
Fresh basil makes all the difference in this sauce.
I cannot find the charger for the old camera.
The road narrows sharply just after the level crossing.
She earned enough money to travel through Asia for a year.
The tide was out, and the boats lay tilted on the mud.
Please speak to the manager if you have any questions.
Our team lost by a single point in the final minute.
The attic smells of dust, paper and dried lavender.
Where did you learn to juggle like that?
The mechanic said the gearbox would not last the winter.
An owl hooted twice from the top of the chestnut tree.
I always lose at chess when I play too quickly.
The ticket machine only accepts coins, unfortunately.
They argued about politics all the way to the airport.
The curtains are too heavy for that flimsy rail.
He peeled the orange in one long, curling strip.
The water in the bay was clear enough to see the bottom.
We have been waiting for the plumber since nine o'clock.
Would you mind closing the gate behind you?
The exhibition features paintings from the last century.
A spider had spun its web across the letter box.
My knee hurts a little when I walk downhill.
The orchestra tuned up while people found their seats.
I wrote the address on the back of an envelope.
The shoes looked good, but they pinched my toes.
She grows chillies on the balcony in old paint tins.
The policeman pointed the way to the nearest station.
Nothing grows well under that enormous beech tree.
The bus was so full that the driver did not stop.
Have you ever tasted gooseberry jam with vanilla?
He rolled up his sleeves and began to dig.
The village shop sells everything from bread to bicycle pumps.
The weather forecast promised sunshine, but it snowed.
I'll be back in ten minutes, so keep the engine running.
The fisherman mended his nets on the harbour wall.
Their wedding cake had five layers and sugar roses.
We ordered a wardrobe, and they delivered a bookcase.
The judge was known for being strict but fair.
Can we talk about the budget before lunch?
The violin is older than anybody in this room.
A gust of wind snatched the map out of her hands.
The house at the end of the lane has been empty for years.
I'm not sure whether that mushroom is safe to eat.
The dentist was very gentle and even told jokes.
He spends his evenings repairing broken radios.
Take two of these tablets with a glass of water.
The moon rose slowly above the dark rooftops.
They found a box of old coins under the floorboards.
My glasses fog up every time I open the oven.
The shepherd whistled, and the dog ran to his side.
We missed the beginning of the film because of the traffic.
Which of these two shades of grey do you prefer?
The stairs creak, so try to walk near the edge.
She wore a thick woollen jumper and a red hat.
The town council voted against the new car park.
I heard the front door slam and then footsteps outside.
The bread will be ready in about twenty-five minutes.
The horse refused to jump over the last fence.
A good knife should be sharpened once a week.
You look tired; did you sleep at all last night?
The computer in the study takes ages to start.
The garden centre had a sale on roses and clay pots.
We counted eleven swans on the lake this afternoon.
He apologised for the mistake and offered a refund.
The journey home took twice as long as usual.
The babysitter read them the same story three times.
I prefer the window open, even in the winter.
The choice between those two jobs kept her awake.
The pavement was slippery with wet leaves.
There's a draught coming from underneath that door.
The accountant discovered a small error in the figures.
Somebody has scratched their name on this bench.
The smell of roasted coffee drifted up the stairs.
Could you check whether the back door is locked?
The swimming pool will be closed for repairs until July.
Our cousin in Canada sends us maple syrup every Christmas.
The museum guard yawned and looked at his watch.
The rope was frayed but strong enough to hold the boat.
She spilled orange juice all over the keyboard.
The bridge was built by soldiers more than a century ago.
I could not understand a word of what he mumbled.
The vegetables should be chopped as finely as possible.
We took a shortcut across the field and got completely lost.
The hotel room had a view of a car park and a brick wall.
Do you know anyone who can tune a piano?
The boy wished for a telescope on his ninth birthday.
A tall woman in a purple coat waved at us.
He carved a wooden spoon from a fallen branch.
The power came back on just before midnight.
The student answered every question except the last one.
Vanilla ice cream goes well with warm apple pie.
The guests arrived early, and nothing was ready.
I've been thinking about what you told me on Monday.
The radio plays nothing but jazz after ten in the evening.
The elephants walked slowly down to the waterhole.
Keep the receipt in case you need to bring it back.
The tailor shortened the trousers by two inches.
It takes courage to admit that you were wrong.
The fields on either side of the motorway were flooded.
Her favourite colour used to be turquoise.
The committee will publish its decision next week.
We cooked sausages over an open fire by the beach.
The alarm went off at five, and I ignored it.
A single candle lit the whole of the tiny chapel.
He lent me a book about the history of bridges.
The parrot imitates the telephone perfectly.
Please leave a message after the tone.
The vase fell off the shelf but did not break.
I'm looking for a present for my mother's sixtieth birthday.
The actor forgot his lines in the second act.
The queue at the post office reached out of the door.
They sailed around the southern cape in a storm.
The toddler refused to wear anything but his rubber boots.
What was the name of that restaurant by the canal?
The scientist explained her theory using an apple and a lamp.
The shutters banged against the wall all night.
A thousand bees were humming in the lavender.
We should leave before the traffic gets too heavy.
The cupboard under the stairs is full of old shoes.
He took a deep breath and knocked on the door.
The gardener trimmed the hedge into the shape of a bird.
My suitcase was the very last one to appear.
The path is marked with yellow arrows on the trees.
She has a sharp tongue but a generous heart.
The glue has to dry for at least twelve hours.
I can recommend the fish; it was caught this morning.
The city looked beautiful from the top of the tower.
Too much sugar is bad for your teeth, you know.
The driver honked, but the cows did not move.
The exam lasts for three hours with a short break.
There was a rainbow over the valley after the shower.
He hid the key beneath a stone next to the porch.
The piano is too wide for the staircase.
You owe me five pounds and thirty pence.
The clouds are moving quickly towards the east.
We planted onions, carrots, beans and a row of garlic.
Nobody believed that the quiet man was a spy.
The shop assistant wrapped the mug in tissue paper.
I enjoy walking along the shore when it is stormy.
The wheel came off the pram in the middle of the crossing.
How long have you been playing the trumpet?
The cottage has thick walls and very small windows.
The pilot announced that we would be landing shortly.
A squirrel stole the nuts that we put out for the birds.
The company is moving its headquarters to Zurich.
His jokes are awful, but everyone laughs anyway.
The butcher knows all of his customers by name.
Let's meet in front of the cinema at ten to eight.
The stream runs underneath the house and into a pond.
It would be foolish to cross the desert without a guide.
The cushion covers can be washed at forty degrees.
The team celebrated with pizza and lemonade.
I saw a flash of lightning and counted to seven.
She folded the letter and put it in her pocket.
The kitchen floor is still wet, so please be careful.
The referee blew his whistle and pointed to the spot.
We visited a cheese factory on the way to the mountains.
Does this bus go to the hospital or only to the market?
The bookshop on the corner is shutting after sixty years.
He polished his boots until they shone like glass.
The valley was quiet apart from the bells of the goats.
My aunt collects teapots from all over the world.
The battery compartment is on the underside of the toy.
A heavy lorry rumbled past and shook the windows.
I cannot imagine living without any music.
The pears are still hard, but they will ripen by Tuesday.
The suspect was seen near the jewellery shop at dawn.
The carriage was cold, dim and almost empty.
Remind me to ring the school tomorrow morning.
The volcano has been silent for two hundred years.
They served us tea in tall glasses with fresh mint.
Your shirt is inside out, in case you had not noticed.
The nearest village is an hour's walk from the cabin.
The choir sang without any accompaniment.
We filled the bath with cold water to cool the drinks.
The author signed copies of her novel for hours.
I usually switch the television off during the adverts.
The oak table has been in our family for generations.
A bird flew against the window but seemed unharmed.
The treasure turned out to be a bag of rusty nails.
The water pressure upstairs is far too low.
He joined the navy when he was barely eighteen.
Could you please turn the music down a little?
The pumpkin weighed more than the child beside it.
The ladder is behind the shed, under a plastic sheet.
She judged the distance wrongly and hit the kerb.
Our holiday photographs are mostly of sheep.
The knitting pattern is harder than it looks.
The new bypass should keep lorries away from the school.
I was about to ring you when the doorbell went.
The jazz festival takes place in a disused quarry.
There is a mouse living behind the washing machine.
The thick blue smoke made our eyes water.
The moss on the roof keeps the slates damp.
We shared the bill equally and left a generous tip.
The boat rocked gently as we drifted downstream.
An hour later they were still choosing the wallpaper.
The mayor opened the bridge with a pair of golden scissors.
The lights turned amber, and he slowed down.
Yes, of course, you may use my telephone.
No, thanks, I have already had more than enough.
Well, that is exactly what I was afraid of.
One, two, three, four, five, and off they went.
Good morning, and welcome to the early news.
The treasurer usually counts the change aloud.
Beige is a dull choice, but it goes with everything.
The vision of the designer was clear from the start.
""".strip().splitlines()
)
