-- A film rental that knows nothing of us: 20 tables, foreign keys, an enum status, contact data, secrets and free text.
create type rental_status as enum ('reserved', 'out', 'overdue', 'returned');
create type rating as enum ('G', 'PG', 'R');

create table country (country_id int primary key, country text not null);
create table city (city_id int primary key, city text not null, country_id int not null references country);
create table address (
    address_id int primary key, address text not null, district text, postal_code varchar(10), phone varchar(20),
    city_id int not null references city
);
create table language (language_id int primary key, name char(20) not null);
create table category (category_id int primary key, name varchar(25) not null);
create table actor (actor_id int primary key, first_name varchar(45) not null, last_name varchar(45) not null);
create table film (
    film_id int primary key, title varchar(255) not null, description text, rating rating, release_year int,
    language_id int not null references language, original_language_id int references language,
    rental_rate numeric(4, 2) not null default 4.99, special_features text[], fulltext tsvector
);
create table film_actor (
    actor_id int references actor, film_id int references film, primary key (actor_id, film_id)
);
create table film_category (
    film_id int references film, category_id int references category, primary key (film_id, category_id)
);
create table store (store_id int primary key, address_id int not null references address);
create table staff (
    staff_id int primary key, first_name varchar(45), last_name varchar(45), email varchar(50), username varchar(16),
    password varchar(100), active boolean not null default true, store_id int not null references store, picture bytea
);
create table customer (
    customer_id int primary key, store_id int not null references store, first_name varchar(45), last_name varchar(45),
    email varchar(50), mobile text, contact text, ssn text, address_id int references address, notes text,
    active boolean not null default true, created_at timestamptz not null default now()
);
create table inventory (
    inventory_id int primary key, film_id int not null references film, store_id int not null references store
);
create table rental (
    rental_id int primary key, status rental_status not null default 'reserved', rental_date timestamptz not null,
    inventory_id int not null references inventory, customer_id int not null references customer,
    staff_id int references staff, return_date timestamptz, remarks text
);
create table payment (
    payment_id bigint, customer_id int not null references customer, rental_id int references rental,
    amount numeric(7, 2) not null, paid_at timestamptz not null, card text, primary key (payment_id, paid_at)
) partition by range (paid_at);
create table payment_2026 partition of payment for values from ('2026-01-01') to ('2027-01-01');
create table payment_rest partition of payment default;
create table review (
    review_id uuid primary key default gen_random_uuid(), film_id int not null references film,
    customer_id int references customer, stars int check (stars between 1 and 5), opinion text, seen_at date
);
create table reservation (
    reservation_id int primary key, state text not null check (state in ('new', 'confirmed', 'cancelled')),
    customer_id int not null references customer, film_id int not null references film
);
create table session (session_id uuid primary key, staff_id int references staff, token text, data jsonb);
create table audit_log (at timestamptz, line text);
create unlogged table cart (cart_id int primary key, customer_id int);
create view overdue as select * from rental where status = 'overdue';

insert into country values (1, 'Austria');
insert into city values (1, 'Wien', 1);
insert into address select n, 'Ring ' || n, null, '10' || n, '+43 1 555 00' || n, 1 from generate_series(10, 40) n;
insert into language values (1, 'English'), (2, 'German');
insert into category values (1, 'Drama');
insert into actor select n, 'First' || n, 'Last' || n from generate_series(1, 30) n;
insert into film select n, 'Film ' || n, 'A long story about number ' || n || ' and what came of it', 'PG', 2020, 1
from generate_series(1, 50) n;
insert into film_actor select n, n from generate_series(1, 30) n;
insert into film_category select n, 1 from generate_series(1, 50) n;
insert into store values (1, 10), (2, 11);
insert into staff select n, 'Staff' || n, 'Member', 'staff' || n || '@rental.example', 'staff' || n,
    '$2b$12$' || repeat(md5(n::text), 2), true, 1 from generate_series(1, 5) n;
insert into customer select n, 1, 'Name' || n, 'Surname' || n, 'customer' || n || '@mail.example', '+43 660 12345' || n,
    'person' || n || '@home.example', '078-05-11' || n, n, 'Likes to be called in the evening, about ' || n, true
from generate_series(10, 40) n;
insert into inventory select n, n, 1 from generate_series(1, 50) n;
insert into rental select n, 'out', '2026-11-01', n, 10 + n % 30, 1 from generate_series(1, 50) n;
insert into payment select n, 10 + n % 30, n, 4.99, '2026-11-02', '4242 4242 4242 4242' from generate_series(1, 50) n;
insert into session select gen_random_uuid(), 1 + n % 5, encode(sha256(n::text::bytea), 'hex'), '{}'
from generate_series(1, 20) n;
analyze;
