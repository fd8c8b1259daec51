-- The operational database of a small airline: what exists before wakestream comes along.
-- Run by its owner. `airline_capture` (change capture) and `airline_ops` (the agent's actions) get the least they need.

create table aircraft (
    id           bigint generated always as identity primary key,
    registration text not null unique,
    model        text not null,
    rows         integer not null check (rows > 0)
);

create table change_policy (
    id               bigint generated always as identity primary key,
    name             text not null unique,
    max_hours_later  integer not null,       -- how much later than booked an alternative may leave
    max_stops        integer not null,
    difference_limit numeric(8, 2) not null -- a fare difference up to this needs nobody's approval
);

create table flight (
    id          bigint generated always as identity primary key,
    flight_no   text not null,
    aircraft_id bigint not null references aircraft,
    origin      text not null,
    destination text not null,
    departs_at  timestamptz not null,           -- as it is known now
    minutes     integer not null,               -- from departure to arrival
    stops       integer not null default 0,
    status      text not null default 'scheduled' check (status in ('scheduled', 'delayed', 'cancelled', 'boarding', 'departed')),
    fare        numeric(8, 2),                  -- the lowest of its fares, kept by a trigger
    seats_free  integer not null default 0      -- counted from its seats, kept by a trigger
);
create index on flight (origin, destination, departs_at);

create table fare (
    flight_id bigint not null references flight on delete cascade,
    class     text not null,
    price     numeric(8, 2) not null,
    primary key (flight_id, class)
);

create table customer (
    id          bigint generated always as identity primary key,
    name        text not null,
    email       text not null,
    passport_no text,
    tier        text not null default 'basic' check (tier in ('basic', 'silver', 'gold')),
    seat        text check (seat in ('window', 'aisle')),
    earliest    time not null default '00:00',   -- departures that the customer finds acceptable, UTC
    latest      time not null default '23:59',
    remarks     text                             -- typed by the customer
);

create table booking (
    id          bigint generated always as identity primary key,
    customer_id bigint not null references customer,
    flight_id   bigint not null references flight,
    policy_id   bigint not null references change_policy,
    status      text not null default 'confirmed' check (status in ('confirmed', 'cancelled')),
    fare_paid   numeric(8, 2) not null,
    departure   timestamptz not null default now(), -- of the flight when it was booked: what the customer counts on
    seat_no     text,
    checked_in  boolean not null default false,
    booked_at   timestamptz not null default now()
);
create index on booking (flight_id);

-- What a passenger gets for a flight that was cancelled.
create table voucher (
    booking_id bigint primary key references booking on delete cascade,
    amount     numeric(8, 2) not null check (amount > 0)
);

create table seat (
    flight_id  bigint not null references flight on delete cascade,
    seat_no    text not null,
    position   text not null check (position in ('window', 'aisle')),
    -- Deferred: a booking takes its seat before it is there itself.
    booking_id bigint unique references booking on delete set null deferrable initially deferred,
    sold_elsewhere boolean not null default false,
    primary key (flight_id, seat_no)
);

create function is_free(seat) returns boolean immutable
    return $1.booking_id is null and not $1.sold_elsewhere;

-- Every flight gets the seats of its aircraft: A and D at the window, B and C at the aisle.
create function furnish() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into seat (flight_id, seat_no, position)
    select new.id, n || letter, case when letter in ('A', 'D') then 'window' else 'aisle' end
    from aircraft, generate_series(1, aircraft.rows) n, unnest(array['A', 'B', 'C', 'D']) letter
    where aircraft.id = new.aircraft_id;
    return null;
end $$;
create trigger furnish after insert on flight for each row execute function furnish();

create function count_free_seats() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    -- In the order of their ids, so that two bookings that swap flights do not lock each other out.
    perform from flight where id in (select flight_id from touched) order by id for no key update;
    update flight f set seats_free = counted.n
    from (select flight_id, count(*) filter (where is_free(seat)) n
          from seat where flight_id in (select flight_id from touched) group by flight_id) counted
    where f.id = counted.flight_id and f.seats_free <> counted.n;
    return null;
end $$;
create trigger count_new after insert on seat
    referencing new table as touched for each statement execute function count_free_seats();
create trigger count_changed after update on seat
    referencing new table as touched for each statement execute function count_free_seats();

create function lowest_fare() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update flight set fare = (select min(price) from fare where flight_id = new.flight_id) where id = new.flight_id;
    return null;
end $$;
create trigger lowest_fare after insert or update on fare for each row execute function lowest_fare();

-- A confirmed booking holds one seat on its flight, by the window or at the aisle as its customer likes it.
-- With a flight comes its departure time. There is no overbooking here: without a free seat the booking, or its move to another flight, is refused.
create function take_seat() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tg_op = 'UPDATE' then
        update seat set booking_id = null where booking_id = new.id;
    end if;
    select departs_at into new.departure from flight where id = new.flight_id;
    new.seat_no := null;
    if new.status <> 'confirmed' then
        return new;
    end if;
    update seat set booking_id = new.id
    where flight_id = new.flight_id and seat_no = (
        select seat_no from seat where flight_id = new.flight_id and is_free(seat)
        order by position is distinct from (select seat from customer where id = new.customer_id), seat_no
        limit 1 for update skip locked)
    returning seat_no into new.seat_no;
    if new.seat_no is null then
        raise exception 'flight % has no free seat', new.flight_id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger take_seat before insert on booking for each row execute function take_seat();
create trigger move_seat before update on booking
    for each row when ((old.flight_id, old.status) is distinct from (new.flight_id, new.status))
    execute function take_seat();

-- Change capture reads the captured tables, and not the passport numbers.
grant select on flight, booking, change_policy to airline_capture;
grant select (id, name, email, tier, seat, earliest, latest, remarks) on customer to airline_capture;

-- The agents may move a booking to another flight, and give a voucher. What follows from a move, the triggers do.
grant select on flight to airline_ops;
grant select (id, flight_id, status) on booking to airline_ops;
grant update (flight_id) on booking to airline_ops;
grant insert on voucher to airline_ops;
