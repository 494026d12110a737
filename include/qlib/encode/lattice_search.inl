// No #pragma once: each room includes this text inside its struct, behind lattice_nearest.inl.

/// Chooses points for all groups of a block at given scales, and sums up what comes of them.
template <class F>
static void try_lattice_scales(lattice_block<F>& b, const std::array<lattice_scale, F::groups>& at,
                               lattice_choice<F>& out) noexcept {
    constexpr std::size_t octets_of_group = F::group / 8;
    for (std::size_t h = 0; h < 2; ++h) {
        octets& in = b.half[h];
        octet_points& points = out.half[h];
        for (std::size_t o = 0; o < 16; ++o) {
            in.scale[o] = at[(16 * h + o) / octets_of_group].scale;
            if constexpr (F::map == form::shifted) in.shift[o] = at[(16 * h + o) / octets_of_group].shift;
        }
        choose_points<typename F::grid>(in, points);
        sixteen xl = splat_16(0.0f), ll = splat_16(0.0f);
        for (std::size_t i = 0; i < 8; ++i) {
            const sixteen l = load(points.level[i]), wl = times(load(in.w[i]), l);
            xl = xl + times(wl, load(in.x[i]));
            ll = ll + times(wl, l);
        }
        alignas(64) float xl_of[16], ll_of[16];
        store(xl_of, xl);
        store(ll_of, ll);
        for (std::size_t g = 0; g < 16 / octets_of_group; ++g) {
            float sum_xl = 0, sum_ll = 0;
            for (std::size_t o = g * octets_of_group; o < (g + 1) * octets_of_group; ++o) {
                sum_xl += xl_of[o];
                sum_ll += ll_of[o];
            }
            out.xl[h * (16 / octets_of_group) + g] = sum_xl;
            out.ll[h * (16 / octets_of_group) + g] = sum_ll;
        }
    }
}

/// The search for one block.
template <class F> class lattice_search {
    using G = typename F::grid;
    using L = typename G::points;
    static constexpr std::size_t groups = F::groups, octets_of_group = F::group / 8;
    static constexpr bool map_shifts = F::map == form::shifted;
    static constexpr bool gives_back = [] {
        if constexpr (holds_signs<G>) return !G::even_signs;
        else return false;
    }();
    using scales = std::array<lattice_scale, groups>;
    /// Of the scale that sends the largest weight to the highest level; of fit_bare's guess.
    static constexpr auto factors = [] {
        if constexpr (holds_signs<G>) return std::array{0.6f, 0.72f, 0.84f, 0.96f, 1.08f, 1.2f};
        else return std::array{1.0f};
    }();
    static constexpr float sigma2_factor = [] {
        if constexpr (holds_signs<G>) return float{F::recipe.sigma2_factor};
        else return 2.0f;
    }();

public:
    explicit lattice_search(const site<F>& s) noexcept { open(s); }

    encoded<F> run() noexcept {
        scales wish{};
        fit_groups(wish);
        float high = 0;
        for (const lattice_scale& s : wish) high = detail::larger(high, s.scale);
        attempt best;
        choose_super(high / static_cast<float>(F::sub_high), wish, best);
        evaluate(best);
        attempt next = refined(best);
        if (next.super == best.super && next.sub == best.sub) return finish(best);
        evaluate(next);
        return finish(next.error < best.error ? next : best);
    }

private:
    struct attempt {
        f16 super{};
        float d = 0;  // its value in the block's unit
        std::array<std::int8_t, groups> sub{};
        std::array<float, groups> shift{};
        float error = 0;  // less the weighted sum of squares
        lattice_choice<F> choice;
    };

    /// The largest magnitude; as integers, whose maximum needs no order.
    static float largest_of(const float* x, std::size_t n) noexcept {
        std::uint32_t most = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::uint32_t a = bits_of(x[i]) & 0x7FFFFFFFu;
            most = a > most ? a : most;
        }
        return float_of(most);
    }
    static float mean_square_of(const float* x) noexcept {
        float sum[16] = {};
        for (std::size_t i = 0; i < 256; i += 16)
            for (std::size_t o = 0; o < 16; ++o) sum[o] += product(x[i + o], x[i + o]);
        for (std::size_t o = 1; o < 16; ++o) sum[0] += sum[o];
        return sum[0] / 256;
    }
    void open(const site<F>& s) noexcept {
        alignas(64) float x[256], w[256];
        const float most = largest_of(s.x.data(), 256);
        const std::uint64_t most_bits = __builtin_bit_cast(std::uint64_t, static_cast<double>(most));
        const std::uint64_t exponent = most > 0 ? most_bits >> 52 : 1023;
        unit_ = __builtin_bit_cast(double, exponent << 52);
        const double inverse = __builtin_bit_cast(double, (2046 - exponent) << 52);
        for (std::size_t i = 0; i < 256; ++i) x[i] = static_cast<float>(static_cast<double>(s.x[i]) * inverse);
        weigh(x, s.importance, w);
        if (gives_back && (s.importance.empty() || largest_of(s.importance.data(), 256) == 0))
            for (std::size_t i = 0; i < 256; ++i) all_ += product(product(w[i], x[i]), x[i]);
        for (std::size_t o = 0; o < 32; ++o)
            block_.negative[o] = put_octet<G>(x + 8 * o, w + 8 * o, 8, block_.half[o / 16], o % 16);
        for (std::size_t g = 0; g < groups; ++g)
            block_.largest[g] = largest_of(x + g * F::group, F::group) / G::highest;
    }
    /// What weights count for, 1 at most: their importance; without, as ggml weighs them under an importance of ones.
    static void weigh(const float* x, std::span<const float> importance, float* w) noexcept {
        const float heaviest = importance.empty() ? 0.0f : largest_of(importance.data(), 256),
                    sigma2 = product(sigma2_factor, mean_square_of(x));
        for (std::size_t i = 0; i < 256; ++i)
            w[i] = heaviest > 0 ? importance[i] / heaviest : detail::square_root(sigma2 + product(x[i], x[i]));
        for (std::size_t i = 0; i < 256; ++i)
            w[i] = detail::larger(w[i], 0x1p-20f);  // what counts for nothing still gets its nearest level
    }
    /// The best scale of each group apart from the others: of those tried, the
    /// least-squares scale for the points of the best.
    void fit_groups(scales& best) noexcept {
        scales start{}, at{};
        for (std::size_t g = 0; g < groups; ++g) start[g].scale = block_.largest[g];
        if constexpr (!holds_signs<G>) fit_bare(start);
        std::array<float, groups> gain{};  // how much of the weighted sum of squares the points explain
        lattice_choice<F> tried;
        for (const float factor : factors) {
            for (std::size_t g = 0; g < groups; ++g) at[g] = {product(start[g].scale, factor), start[g].shift};
            try_lattice_scales<F>(block_, at, tried);
            for (std::size_t g = 0; g < groups; ++g) {
                const float explained = tried.ll[g] > 0 ? product(tried.xl[g], tried.xl[g]) / tried.ll[g] : 0.0f;
                if (!(tried.xl[g] > 0 && explained > gain[g])) continue;
                gain[g] = explained;
                best[g] = {tried.xl[g] / tried.ll[g], start[g].shift};
                fitted_ll_[g] = tried.ll[g];
            }
        }
    }
    /// Of points that may be moved up or down: the scales and shifts under which nearest levels cost least. Half of all
    /// digits make a point there, so that is a good guess, and costs little.
    void fit_bare(scales& best) noexcept {
        std::array<float, groups> least;
        alignas(64) float up[32], down[32];
        for (float& v : least) v = unreachable;
        for (const float factor : {0.4f, 0.5f, 0.6f, 0.7f, 0.8f, 0.9f, 1.0f, 1.1f}) {
            for (std::size_t h = 0; h < 2; ++h) {
                octets in = block_.half[h];
                for (std::size_t o = 0; o < 16; ++o) {
                    in.scale[o] = product(block_.largest[(16 * h + o) / octets_of_group], factor);
                    in.shift[o] = L::shift;
                }
                bare_costs<L>(in, up + 16 * h);
                for (float& shift : in.shift) shift = -L::shift;
                bare_costs<L>(in, down + 16 * h);
            }
            for (std::size_t g = 0; g < groups; ++g) {
                const std::size_t first = g * octets_of_group;
                float all_up = 0, all_down = 0, either = 0;
                for (std::size_t o = first; o < first + octets_of_group; ++o) {
                    all_up += up[o];
                    all_down += down[o];
                    either += detail::smaller(up[o], down[o]);
                }
                const float cost = map_shifts ? detail::smaller(all_up, all_down) : either;
                if (!(cost < least[g])) continue;
                least[g] = cost;
                best[g] = {product(block_.largest[g], factor), all_down < all_up ? -L::shift : L::shift};
                for (std::size_t o = first; o < first + octets_of_group; ++o)
                    block_.half[o / 16].shift[o % 16] =
                        (map_shifts ? all_down < all_up : down[o] < up[o]) ? -L::shift : L::shift;
            }
        }
    }
    /// The super-scale d as it is stored, and the scales under it.
    void set_scales(attempt& a, float d, const scales& wish) const noexcept {
        a.super = f16::from(static_cast<float>(static_cast<double>(d) * unit_));
        a.d = static_cast<float>(static_cast<double>(a.super.value()) / unit_);
        const float inverse = detail::safe_reciprocal(a.d);
        for (std::size_t g = 0; g < groups; ++g) a.sub[g] = F::nearest_sub(product(wish[g].scale, inverse));
    }
    /// The super-scale of a few around d under which rounding the scales costs least, points unchanged; d itself where
    /// all are beyond f16's range.
    void choose_super(float d, const scales& wish, attempt& best) const noexcept {
        float least = unreachable;
        for (std::size_t g = 0; g < groups; ++g) best.shift[g] = wish[g].shift;
        set_scales(best, d, wish);
        for (const float factor : {1.0f, 0.91f, 0.94f, 0.97f, 1.03f, 1.06f, 1.09f}) {
            attempt a;
            set_scales(a, product(d, factor), wish);
            float error = 0;
            for (std::size_t g = 0; g < groups; ++g) {
                const float off = product(a.d, static_cast<float>(a.sub[g])) - wish[g].scale;
                error += product(fitted_ll_[g], product(off, off));
            }
            if (!(error < least)) continue;
            least = error;
            best.super = a.super;
            best.d = a.d;
            best.sub = a.sub;
        }
    }
    void evaluate(attempt& a) noexcept {
        scales at{};
        for (std::size_t g = 0; g < groups; ++g) at[g] = {product(a.d, static_cast<float>(a.sub[g])), a.shift[g]};
        try_lattice_scales<F>(block_, at, a.choice);
        a.error = 0;
        for (std::size_t g = 0; g < groups; ++g)
            a.error += product(at[g].scale, product(at[g].scale, a.choice.ll[g]) - product(2, a.choice.xl[g]));
    }
    /// Least squares for the points of an attempt.
    attempt refined(const attempt& a) const noexcept {
        float xq = 0, qq = 0;
        scales wish{};
        for (std::size_t g = 0; g < groups; ++g) {
            const auto q = static_cast<float>(a.sub[g]);
            xq += product(q, a.choice.xl[g]);
            qq += product(product(q, q), a.choice.ll[g]);
            wish[g].scale = a.choice.ll[g] > 0 ? a.choice.xl[g] / a.choice.ll[g] : 0.0f;
        }
        attempt next;
        next.shift = a.shift;
        set_scales(next, qq > 0 ? xq / qq : a.d, wish);
        return next;
    }
    /// The super-scale of an attempt. Where nothing is known of the inputs and signs are free, three quarters of what
    /// least squares shrinks weights by are given back: in IQ2_S on stories15M it costs .3 dB, and KL falls by 8 %.
    /// With even signs it gains 1 or 2 %; points of -1, 0, 1 lose.
    f16 regained(const attempt& a) const noexcept {
        if (!gives_back || !(all_ > 0)) return a.super;
        const float factor = 1.0f + product(0.75f, all_ / detail::larger(-a.error, product(0.7f, all_)) - 1.0f);
        const f16 s = f16::from(static_cast<float>(static_cast<double>(a.super.value()) * static_cast<double>(factor)));
        return (s.bits & 0x7C00) == 0x7C00 ? a.super : s;
    }
    encoded<F> finish(const attempt& a) const noexcept {
        encoded<F> e;
        e.params.super = regained(a);
        e.params.sub = a.sub;
        if constexpr (map_shifts)
            for (std::size_t g = 0; g < groups; ++g) e.params.down[g] = a.shift[g] < 0;
        constexpr std::size_t codes_of_octet = 8 / F::vec;
        for (std::size_t o = 0; o < 32; ++o)
            for (std::size_t c = 0; c < codes_of_octet; ++c)
                e.code[o * codes_of_octet + c] =
                    code_of<G>(block_.half[o / 16], a.choice.half[o / 16], block_.negative[o], o % 16, c);
        return e;
    }

    lattice_block<F> block_{};
    std::array<float, groups> fitted_ll_{};
    double unit_ = 1;
    float all_ = 0;  // the weighted sum of squares, where shrink is given back
};
