-- The same day over and over: tomorrow's flights between Lisbon and Berlin, and who sits on them. Times are UTC.
truncate aircraft, change_policy, flight, fare, customer, booking, seat, voucher restart identity;

insert into aircraft (registration, model, rows) values
    ('CS-WKA', 'ATR 42', 6), ('CS-WKB', 'ATR 72', 8), ('CS-WKC', 'Dash 8', 5);

insert into change_policy (name, max_hours_later, max_stops, difference_limit) values
    ('flex', 12, 1, 200), ('standard', 8, 1, 120), ('light', 8, 0, 20);

insert into flight (flight_no, aircraft_id, origin, destination, departs_at, minutes, stops)
select flight_no, aircraft, origin, destination, ((now() at time zone 'UTC')::date + 1 + at) at time zone 'UTC', minutes, stops
from (values
    ('WK101', 1, 'LIS', 'BER', '08:10'::time, 205, 0),   -- 1: the one that will be late
    ('WK099', 2, 'LIS', 'BER', '06:30', 205, 0),         -- 2: leaves before it
    ('WK103', 2, 'LIS', 'BER', '10:05', 205, 0),         -- 3
    ('WK511', 3, 'LIS', 'BER', '09:15', 340, 1),         -- 4: one stop
    ('WK105', 1, 'LIS', 'BER', '11:20', 205, 0),         -- 5
    ('WK107', 3, 'LIS', 'BER', '09:40', 205, 0),         -- 6: sold out
    ('WK109', 2, 'LIS', 'BER', '10:30', 205, 0),         -- 7: cancelled
    ('WK513', 3, 'LIS', 'BER', '08:50', 355, 2),         -- 8: two stops
    ('WK121', 2, 'LIS', 'BER', '19:45', 205, 0),         -- 9: arrives after the late one
    ('WK102', 1, 'BER', 'LIS', '13:30', 215, 0),         -- 10: the way back
    ('WK201', 3, 'LIS', 'AMS', '09:00', 185, 0)          -- 11: somewhere else
) as tomorrow (flight_no, aircraft, origin, destination, at, minutes, stops);

insert into fare (flight_id, class, price)
select id, class, price + extra
from (values (1, 129), (2, 99), (3, 189), (4, 149), (5, 169), (6, 109), (7, 119), (8, 79), (9, 89), (10, 139), (11, 95))
    as f (id, price), (values ('economy', 0), ('comfort', 110)) as c (class, extra);

update seat set sold_elsewhere = true where flight_id = 6;
update flight set status = 'cancelled' where id = 7;

insert into customer (name, email, passport_no, tier, seat, earliest, latest, remarks) values
    ('Ines Duarte', 'ines@example.com', 'CA110023', 'gold', 'aisle', '07:00', '20:00', null),
    ('Jonas Weber', 'jonas@example.com', 'C4F29LM0', 'silver', 'window', '10:45', '23:00', 'Travels with a small child.'),
    ('Amara Okafor', 'amara@example.com', 'A0918273', 'basic', null, '00:00', '23:59', 'Vegetarian meal, please.'),
    ('Luca Moretti', 'luca@example.com', 'YA55120', 'basic', 'window', '08:00', '22:00', null),
    ('Sofie Jansen', 'sofie@example.com', 'NX77120', 'silver', 'aisle', '00:00', '23:59', null),
    ('Petr Dvorak', 'petr@example.com', '39008812', 'basic', null, '00:00', '23:59', null),
    ('Maya Cohen', 'maya@example.com', '22871003', 'gold', 'window', '06:00', '22:00', 'Prefers quiet seats.');

insert into booking (customer_id, flight_id, policy_id, fare_paid, status) values
    (1, 1, 1, 129, 'confirmed'),
    (2, 1, 2, 119, 'confirmed'),    -- not before 10:45, so the best alternative is another one than for the first
    (3, 1, 3, 79, 'confirmed'),     -- nothing that is allowed here costs less than 20 more: somebody has to approve
    (4, 2, 2, 129, 'confirmed'),
    (5, 1, 2, 125, 'cancelled'),    -- has given the trip up
    (6, 3, 2, 185, 'confirmed'),
    (7, 11, 1, 95, 'confirmed'),
    (5, 10, 3, 99, 'confirmed');
