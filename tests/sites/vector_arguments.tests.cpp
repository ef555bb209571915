#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <complex>
#include <cstdint>
#include <ftrace/sites/symbols.hpp>
#include <ftrace/sites/vector_arguments.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// The functions below are called never: their names matter. This file's compiler makes those, other
// compilers' names stand in the table at the end.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

typedef float float8 __attribute__((vector_size(32)));
typedef float float4 __attribute__((vector_size(16)));
typedef double double8 __attribute__((vector_size(64)));
typedef long long2 __attribute__((vector_size(16)));
__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 unsigned_int128;
typedef short short16 __attribute__((vector_size(32)));

namespace names {

struct plain {
    int x;
};
struct holder {
    float8 v;
};
enum class color { red };
template <typename T>
struct box {
    T value;
};
template <typename T>
struct trait {
    using type = T;
};

#define FUNCTION __attribute__((noinline, used))
FUNCTION void nothing() {}
FUNCTION void scalars(bool, char, signed char, unsigned short, int, long, unsigned long, float,
                      double, long double) {}
FUNCTION void pointers(plain*, const holder&, float8*, plain&&, void (*)(float8), color*) {}
FUNCTION void members(int plain::*, void (plain::*)(float8) const, int (plain::*)(holder)) {}
FUNCTION void wide_integers(int128, unsigned_int128) {}
FUNCTION void strings(std::string, std::string_view, std::vector<plain>, std::unique_ptr<holder>,
                      std::map<int, holder>, std::function<void(float8)>, std::shared_ptr<plain>) {}
FUNCTION void pairs(std::pair<int, const char*>, std::tuple<double, long>, std::optional<int>,
                    std::array<float, 8>, std::complex<float>, std::chrono::nanoseconds) {}
FUNCTION void variadic(const char*, ...) {}
FUNCTION void sixteen(float4, long2) {}
FUNCTION void thirty_two(int, float8) {}
FUNCTION void thirty_two_too(short16) {}
FUNCTION void sixty_four(float8, double8) {}
FUNCTION void by_const_value(const float8) {}
FUNCTION void class_by_value(plain) {}
FUNCTION void holder_by_value(int, holder) {}
FUNCTION void enum_by_value(color) {}
FUNCTION void in_std_pair(std::pair<int, plain>) {}
FUNCTION void vector_in_optional(std::optional<float8>) {}
FUNCTION void array_of_arrays(int (&)[3], const char (&)[5][7]) {}
FUNCTION std::string returns_class(int) { return {}; }
FUNCTION float8 returns_vector(int) { return float8{}; }

template <typename T>
FUNCTION T identity(T x) {
    return x;
}
template <typename T, typename U>
FUNCTION U second(T*, U u) {
    return u;
}
template <typename... T>
FUNCTION void pack(T...) {}
template <typename... T>
FUNCTION void references(T&&...) {}
template <typename T>
FUNCTION typename trait<T>::type dependent(typename trait<T>::type x) {
    return x;
}
template <typename T, std::enable_if_t<(sizeof(T) > 1) && !std::is_pointer_v<T>, int> = 0>
FUNCTION void enabled(T) {}
template <typename T>
FUNCTION auto deduced(T x) -> decltype(x + T{}) {
    return x;
}
template <typename T>
    requires(sizeof(T) > 2)
FUNCTION void constrained(T) {}
template <int N, char C, bool B>
FUNCTION void values(box<int>*) {}
template <template <typename> class T>
FUNCTION void of_template(T<int>*) {}

struct worker {
    FUNCTION explicit worker(int) {}
    FUNCTION ~worker() {}
    FUNCTION void run(const worker&, std::string_view) const {}
    FUNCTION worker& operator+=(int) { return *this; }
    FUNCTION worker& operator<<(float8) { return *this; }
    FUNCTION explicit operator bool() const { return true; }
    FUNCTION void operator()(plain) {}
    template <typename T>
    FUNCTION explicit operator box<T>() const {
        return box<T>{T{}};
    }
    template <typename T>
    FUNCTION void apply(T, const T&) {}
};

namespace {
FUNCTION void anonymous(int) {}
}  // namespace

template <typename F>
std::uintptr_t address(F function) {
    std::uintptr_t value;
    static_assert(sizeof function >= sizeof value);
    std::memcpy(&value, &function, sizeof value);  // of a member function: its first word
    return value;
}

struct expected_width {
    std::uintptr_t function;
    std::uint32_t bytes;
};

}  // namespace names

namespace {

using namespace names;

std::uint32_t width_of(std::string_view name) {
    return static_cast<std::uint32_t>(ftrace::detail::widest_vector_argument(name));
}

constexpr std::uint32_t scalar = 16, ymm = 32, unknown = 64;

}  // namespace

TEST_CASE("vector arguments: names of this compiler", "[sites]") {
    const auto local = [](auto x, int) { return x; };
    const auto closure = [](float8) {};
    (void)local(1, 2);
    const expected_width table[] = {
        {address(&nothing), scalar},
        {address(&scalars), scalar},
        {address(&pointers), scalar},
        {address(&members), scalar},
        {address(&wide_integers), scalar},
        {address(&strings), scalar},
        {address(&pairs), scalar},
        {address(&variadic), scalar},
        {address(&sixteen), scalar},
        {address(&thirty_two), ymm},
        {address(&thirty_two_too), ymm},
        {address(&sixty_four), unknown},
        {address(&by_const_value), ymm},
        {address(&class_by_value), unknown},
        {address(&holder_by_value), unknown},
        {address(&enum_by_value), unknown},
        {address(&in_std_pair), unknown},
        {address(&vector_in_optional), ymm},
        {address(&array_of_arrays), scalar},
        {address(&returns_class), scalar},
        {address(&returns_vector), scalar},
        {address(&identity<int>), scalar},
        {address(&identity<const char*>), scalar},
        {address(&identity<float8>), ymm},
        {address(&identity<plain>), unknown},
        {address(&identity<std::vector<holder>>), scalar},
        {address(&second<float8, int>), scalar},
        {address(&second<int, float8>), ymm},
        {address(&second<plain, std::string>), scalar},
        {address(&pack<>), scalar},
        {address(&pack<int, double, const char*>), scalar},
        {address(&pack<int, float8>), ymm},
        {address(&pack<int, plain>), unknown},
        {address(&references<int, plain, float8&>), scalar},
        {address(&enabled<int>), scalar},
        {address(&enabled<float8>), ymm},
        {address(&enabled<plain>), unknown},
        {address(&deduced<long>), scalar},
        {address(&constrained<int>), scalar},
        {address(&constrained<float8>), ymm},
        {address(&values<-3, 'x', true>), scalar},
        {address(&of_template<box>), scalar},
        {address(&worker::run), scalar},
        {address(&worker::operator+=), scalar},
        {address(&worker::operator<<), ymm},
        {address(&worker::operator bool), scalar},
        {address(&worker::operator()), unknown},
        {address<box<float8> (worker::*)() const>(&worker::operator box<float8>), scalar},
        {address(&worker::apply<int>), scalar},
        {address(&worker::apply<plain>), unknown},
        {address(&anonymous), scalar},
        {address(&std::remove_const_t<decltype(local)>::operator()<int>), scalar},
        {address(&std::remove_const_t<decltype(local)>::operator()<float8>), ymm},
        {address(&std::remove_const_t<decltype(closure)>::operator()), ymm},
    };
    for (const expected_width& each : table) {
        const std::string name = ftrace::symbol_of(each.function).name;
        INFO(name);
        REQUIRE(name.starts_with("_Z"));
        CHECK(width_of(name) == each.bytes);
    }
    // What stands behind decltype or within another class is not looked up, but not wrong.
    CHECK(width_of(ftrace::symbol_of(address(&dependent<float8>)).name) >= ymm);
}

TEST_CASE("vector arguments: names of gcc and clang", "[sites]") {
    struct row {
        const char* name;
        std::uint32_t bytes;
    };
    const row table[] = {
        {"main", scalar},
        {"", unknown},
        {"memcpy", unknown},
        {"_Z", unknown},
        {"_Z3", unknown},
        {"_Z3foo", unknown},  // a variable
        {"_Z3fooi", scalar},
        {"_Z3fooi.cold", unknown},
        {"_Z3fooi.isra.0", unknown},
        {"_Z3fooi.constprop.0.isra.0", unknown},
        {"_Z3fooi.lto_priv.0", scalar},
        {"_Z3fooi.llvm.1234", scalar},
        {"_Z3fooi@@V1", scalar},
        {"_Z3fooi junk", unknown},
        {"_Z1fDv8_f", ymm},
        {"_Z1fDv4_x", ymm},
        {"_Z1fDv32_c", ymm},
        {"_Z1fDv16_DF16_", ymm},
        {"_Z1fDv16_f", unknown},
        {"_Z1fDv4_fDv2_d", scalar},
        {"_Z1fDv8_fS_", ymm},
        {"_Z1fPDv8_fRKS_", scalar},
        {"_Z1fg", scalar},
        {"_Z1fDF16_DF16bDhDd", scalar},
        {"_Z1fu6__bf16", unknown},
        {"_Z1fDB256_DU17_", scalar},
        {"_Z1fCfCd", scalar},
        {"_Z1fDnDsDiDu", scalar},
        {"_Z1fz", scalar},
        {"_Z1fSs", scalar},
        {"_Z1fSaIcE", scalar},
        {"_Z1fSt9nothrow_tSt11align_val_t", scalar},
        {"_Z1fNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE", scalar},
        {"_Z1fNSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEEE", scalar},
        {"_Z1fNSt3__16vectorI5plainNS_9allocatorIS1_EEEE", scalar},
        {"_Z1fSt4pairI5plainiE", unknown},
        {"_Z1fSt4pairIP5plainiE", scalar},
        {"_Z1fN9__gnu_cxx17__normal_iteratorIPiSt6vectorIiSaIiEEEE", scalar},
        {"_Z1fNSt12experimental15parallelism_v24simdIfNS0_8simd_abi7fixed_sizeILi8EEEEE", unknown},
        {"_Z1f5plain", unknown},
        {"_Z1fN2ns5colorE", unknown},
        {"_Z1fRN2ns5colorES0_", unknown},
        {"_Z1fRN2ns5colorES1_", scalar},
        // thunks and what is no function
        {"_ZThn16_N1A1fEi", scalar},
        {"_ZThn16_N1A1fEDv8_f", ymm},
        {"_ZTv0_n24_N1A1fEv", scalar},
        {"_ZTch0_h16_N1A1fEv", scalar},
        {"_ZTV1A", unknown},
        {"_ZGVZ4mainE1x", unknown},
        // constructors, conversions, operators, qualifiers
        {"_ZN1AC1ERKS_", scalar},
        {"_ZN1AC2IiEET_", scalar},
        {"_ZN1ACI11BEi", scalar},
        {"_ZN1AD0Ev", scalar},
        {"_ZNK1AcvbEv", scalar},
        {"_ZN1AcvT_IiEEv", scalar},
        {"_ZNKR1A3getEv", scalar},
        {"_ZNO1A3getEv", scalar},
        {"_ZNH1A3getIiEEvi", scalar},
        {"_ZN1AplEi", scalar},
        {"_ZN1AssERKS_", scalar},
        {"_Zli3_kmy", scalar},
        {"_ZN1A1fB3tagEi", scalar},
        {"_ZN12_GLOBAL__N_11fEi", scalar},
        {"_ZL1fi", scalar},
        {"_ZN2nsL1fEi", scalar},
        // lambdas and local names
        {"_ZZ4mainENKUlvE_clEv", scalar},
        {"_ZZ4mainENKUlDv8_fE0_clES_", ymm},
        {"_ZZ4mainENKUlT_E_clIiEEDaS_", scalar},
        {"_ZZ4mainENKUlT_E_clIDv8_fEEDaS_", ymm},
        {"_ZZN1A1fEiENKUlP5plainE_clES1_", scalar},
        {"_ZZ1fiE1x", unknown},
        {"_ZZ1fvEN5local3runEi", scalar},
        {"_ZZ1fvEN5local3runEi_0", unknown},
        {"_ZZZ4mainENKUlvE_clEvENKUliE_clEi", scalar},
        {"_ZN1A1xMUlvE_clEv", scalar},
        // templates, packs, expressions
        {"_Z1fIiEvT_", scalar},
        {"_Z1fIDv8_fEvT_", ymm},
        {"_Z1fIJiDv8_fEEvDpT_", ymm},
        {"_Z1fIJi5plainEEvDpOT_", scalar},
        {"_Z1fIJi5plainEEvDpT_", unknown},
        {"_Z1fILi3EEvi", scalar},
        {"_Z1fILin3ELb1ELc65EEvv", scalar},
        {"_Z1fIXadL_Z1gvEEEvv", scalar},
        {"_Z1fIL_Z1gvEEvv", scalar},
        {"_Z1fITpTnDaJLi1ELi2EEEvv", scalar},
        {"_Z1fIiTnNSt9enable_ifIXsr3std11is_integralIT_EE5valueEiE4typeELi0EEvS1_", scalar},
        {"_Z1fIiEN9enable_ifIXsr3std11is_integralIT_EE5valueEvE4typeES1_", scalar},
        {"_Z1fIiEDTplfp_cvT__EES0_", scalar},
        {"_Z1fIiEDTcl1gfp_EET_", scalar},
        {"_Z1fIiQgtstT_Li2EEvS0_", scalar},
        {"_Z2f1IiQsr3stdE8integralIT_EEvS0_", scalar},
        {"_Z2f3IiQrQT__XplfL0p_fL0p_XmlfL0p_fL0p_NXmifL0p_fL0p_RSt7same_asIS0_EQgtszfL0p_Li1ETNSt9"
         "enable_ifILb1ES0_E4typeEEEvS0_",
         scalar},
        {"_Z2f5ITkSt8integraliTnNSt9enable_ifIXgtstT_Li1EEiE4typeELi0EEvS1_", scalar},
        {"_Z2f8IiEDTclsr2trIT_E1gIiELi1EEES1_", scalar},
        {"_Z2f8IiEDTclsr2trIT_EE1gIiELi1EEES0_", scalar},
        {"_Z2f9IiEDTcmcmcmcmcmcmcmcmna_A2_T_Edlfp_sclfp0_stS0_atS0_qufp0_Li1ELi2EcvS0__EtlS0_Edefp_"
         "EPS0_i",
         scalar},
        {"_Z3f10IJiiEEDTfRplfp_Li0EEDpT_", scalar},
        {"_Z3f11IJiiEESt17integral_constantIiXsZT_EEDpT_", scalar},
        {"_Z3f12IiEvRAstT__S0_", scalar},
        {"_Z3f13IXadL_Z2f8IiEDTclsr2trIT_E1gIiELi1EEES2_EEEvi", scalar},
        {"_Z3f13ITnDaXadL_Z2f8IiEDTclsr2trIT_EE1gIiELi1EEES1_EEEvi", scalar},
        {"_Z3f15IiEDTcmcmadsrT_1xdtfp_srS0_1xcldtfp_coT_EES0_", scalar},
        {"_Z3f16IiEDTcltlUlT_E_Efp_EES0_", scalar},
        {"_Z1fIiEvT_Q4goodIS0_E", scalar},
        {"_Z1fIiEvT_QrqXplfp_fp_E", scalar},
        {"_Z1fITk4goodiEvT_", scalar},
        {"_Z1fI1xEvDTcldtfp_3getEE", unknown},
        {"_Z1fI3boxEvPT_IiE", scalar},
        {"_Z1fI3boxEvT_IiE", unknown},
        // function types
        {"_Z1fPFvDv8_fE", scalar},
        {"_Z1fPDoFviE", scalar},
        {"_Z1fM1AKFvDv8_fEi", scalar},
        {"_Z1fM1ADoFvvERiDv8_f", ymm},
        {"_Z1fRA3_KcPA_i", scalar},
    };
    for (const row& each : table) {
        INFO(each.name);
        CHECK(width_of(each.name) == each.bytes);
    }
}

TEST_CASE("vector arguments: any text ends, and what is cut off is unknown", "[sites]") {
    std::string deep = "_Z1f";
    deep.append(100'000, 'P');
    CHECK(width_of(deep + "i") == unknown);
    CHECK(width_of("_Z" + std::string(100'000, 'N')) == unknown);
    CHECK(width_of("_Z1fI" + std::string(100'000, 'I')) == unknown);
    CHECK(width_of("_Z99999999999999999999f") == unknown);
    CHECK(width_of("_Z1fS999999999999999_") == unknown);
    // Every piece of a long name, and every letter of it replaced.
    const std::string name =
        "_ZZN2ns3boxIJiDv8_fSt6vectorIiSaIiEEEE3runIXaasr3std11is_integralIT_EE5valueLb1EEEE"
        "NSt9enable_ifIXntsr6traits5valueEvE4typeEMS4_KFvPKcEENKUlT_E_clIiEEDaS9_";
    for (std::size_t i = 0; i < name.size(); ++i) {
        (void)width_of(std::string_view(name).substr(0, i));
        for (const char c :
             {'E', 'N', 'I', 'S', 'T', 'X', 'L', 'Z', 'D', '_', '0', '9', 'Q', 'f'}) {
            std::string other = name;
            other[i] = c;
            const std::uint32_t width = width_of(other);
            CHECK((width == scalar || width == ymm || width == unknown));
        }
    }
    CHECK(width_of("_Z1fP") == unknown);
    CHECK(width_of("_Z1fM1A") == unknown);
    CHECK(width_of("_Z1fIi") == unknown);
}
