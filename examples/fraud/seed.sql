-- The same customers over and over, with what they usually pay.
truncate customer, device, payment restart identity;

insert into customer (name, country, email) values
    ('Nora Lind', 'SE', 'nora@example.com'),        -- 1: pays as always
    ('Omar Haddad', 'MA', 'omar@example.com'),      -- 2: many payments within a minute
    ('Pia Rossi', 'IT', 'pia@example.com'),         -- 3: a new device, and far more than ever
    ('Quentin Roy', 'FR', 'quentin@example.com'),   -- 4: pays large sums, and always has
    ('Rosa Marin', 'ES', 'rosa@example.com');       -- 5: a new device, and an ordinary sum

insert into device (customer_id, first_seen)
select id, now() - interval '300 days' from customer order by id;

insert into payment (customer_id, device_id, merchant, country, amount, at, status)
select c.id, c.id, 'Grocer', c.country, usual * (0.9 + n * 0.02), now() - n * interval '5 days', 'booked'
from customer c join (values (1, 40.00), (2, 25.00), (3, 30.00), (4, 1500.00), (5, 60.00)) as u (id, usual) using (id),
    generate_series(1, 10) n
order by n desc, c.id;
