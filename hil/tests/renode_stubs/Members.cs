// Prints each member of Renode that the models name, override or implement, as the stubs declare it: one line each.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;

public static class Members
{
    public static int Main(string[] arguments)
    {
        var models = Assembly.LoadFrom(arguments[0]);
        var found = new SortedSet<string>(StringComparer.Ordinal);
        foreach(var module in models.GetModules())
        {
            for(var token = 0x0A000001; ; token++) // the table MemberRef, ECMA-335 II.22.25
            {
                MemberInfo member;
                try
                {
                    member = module.ResolveMember(token, null, null);
                }
                catch(ArgumentOutOfRangeException)
                {
                    break;
                }
                Add(found, member);
            }
        }
        foreach(var type in models.GetTypes().Where(type => !type.IsInterface))
        {
            foreach(var face in type.GetInterfaces().Where(IsRenodes))
            {
                foreach(var member in face.GetMethods())
                {
                    Add(found, member);
                }
                found.Add(Name(face) + " : " + String.Join(", ", face.GetInterfaces().Where(IsRenodes).Select(Name).OrderBy(name => name, StringComparer.Ordinal)));
            }
            foreach(var method in type.GetMethods(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic))
            {
                Add(found, method.GetBaseDefinition());
            }
        }
        foreach(var line in found)
        {
            Console.WriteLine(line);
        }
        return 0;
    }

    private static bool IsRenodes(Type type)
    {
        return type.Namespace != null && type.Namespace.StartsWith("Antmicro.") && type.Namespace != "Antmicro.Renode.Peripherals.Opq";
    }

    private static void Add(SortedSet<string> found, MemberInfo member)
    {
        if(member.DeclaringType == null || !IsRenodes(member.DeclaringType))
        {
            return;
        }
        var declared = Name(member.DeclaringType) + "." + member.Name;
        var method = member as MethodBase;
        if(method == null)
        {
            found.Add(declared + " : " + Name(((FieldInfo)member).FieldType));
            return;
        }
        var parameters = method.GetParameters().Select(parameter => (parameter.IsOut ? "out " : "") + Name(parameter.ParameterType) + " " + parameter.Name + (parameter.IsOptional ? " = " + Convert.ToString(parameter.RawDefaultValue ?? "null") : ""));
        var made = method as MethodInfo;
        found.Add(declared + "(" + String.Join(", ", parameters) + ")" + (made == null ? "" : " : " + Name(made.ReturnType)));
    }

    private static string Name(Type type)
    {
        if(type.IsByRef)
        {
            return Name(type.GetElementType());
        }
        if(type.IsArray)
        {
            return Name(type.GetElementType()) + "[]";
        }
        if(!type.IsGenericType)
        {
            return IsRenodes(type) ? type.FullName.Replace("Antmicro.", "") : type.Name;
        }
        var bare = type.Name.Substring(0, type.Name.IndexOf('`'));
        return bare + "<" + String.Join(", ", type.GetGenericArguments().Select(Name)) + ">";
    }
}
